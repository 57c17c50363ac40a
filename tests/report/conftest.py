from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.report_page import make_record
from kdstudy.ledger import Ledger
from kdstudy.report import Report, report_of


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One study of 4 arms, 5 search trials and 3 seeds each, of 6 epochs."""
    with Ledger(f"sqlite:///{tmp_path_factory.mktemp('report')}/ledger.db") as opened:
        make_record(opened, trials=5, seeds=3, epochs=6)
        yield opened


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One study of 4 arms that repeats its search five times, with 2 seeds each."""
    with Ledger(f"sqlite:///{tmp_path_factory.mktemp('repeated')}/ledger.db") as opened:
        make_record(opened, trials=3, seeds=2, epochs=2, searches=5)
        yield opened


@pytest.fixture(scope="module")
def report(ledger: Ledger) -> Report:
    return report_of(ledger, ["latest"])
