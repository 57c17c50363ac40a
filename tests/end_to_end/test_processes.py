"""Trials are served by the processes that there are: none is started that need not be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.sleeping import DEFAULTS, STUDY, run
from kdstudy.ledger import Ledger


@pytest.mark.slow
def test_two_slots_need_two_processes(tmp_path: Path) -> None:
    found = run(tmp_path, slots=2, trials=12, seconds=0.0)
    assert (found.trials, found.processes) == (12, 2)


ANEW = """
import sys
from kdstudy.cluster import execute
from kdstudy.runner.driver import run_study
from kdstudy.storage.store import Store
from kdstudy.study import parse_study
from kdstudy.plugins.trust import allow_plugins

execute.limit_of = lambda capacity: 3
allow_plugins("benchmarks")
outcome = run_study(parse_study(sys.argv[1], "sleeping.yaml"), Store.at(sys.argv[2]))
assert outcome.counts == {"completed": 7, "stopped": 0, "diverged": 0, "failed": 0}, outcome
"""


@pytest.mark.long
def test_a_study_goes_on_when_tune_is_begun_anew(tmp_path: Path) -> None:
    text = STUDY.format(**{**DEFAULTS, "trials": 7, "seconds": 0.0})
    # A process of its own: Ray reads its token once a process, and another test's may have been read here.
    subprocess.run([sys.executable, "-c", ANEW, text, str(tmp_path / "store")], check=True, timeout=280)
    whole = tmp_path / "whole"
    whole.mkdir()
    run(whole, slots=2, trials=7, seconds=0.0)
    assert results(tmp_path / "store") == results(whole / "store"), "begun anew twice, or in one go"


def results(store: Path) -> list[tuple[object, ...]]:
    with Ledger.open(f"sqlite:///{store / 'ledger.db'}") as ledger:
        (study,) = ledger.summaries()
        return [(trial.values, trial.val, trial.weights_sha256) for trial in ledger.trials(study.id)]
