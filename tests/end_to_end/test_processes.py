"""Trials are served by the processes that there are: none is started that need not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.sleeping import STUDY, run
from kdstudy.ledger import Ledger
from kdstudy.search import execution
from kdstudy.search.driver import run_study
from kdstudy.store import Store
from kdstudy.study import parse_study
from kdstudy.trust import allow_plugins


def test_two_slots_need_two_processes(tmp_path: Path) -> None:
    found = run(tmp_path, slots=2, trials=12, seconds=0.0)
    assert (found.trials, found.processes) == (12, 2)


@pytest.mark.slow
def test_a_study_goes_on_when_tune_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "limit_of", lambda capacity: 3)
    allow_plugins("benchmarks")
    text = STUDY.format(trials=7, epochs=1, seconds=0.0, sampler="tpe")
    store = Store.at(str(tmp_path / "store"))
    outcome = run_study(parse_study(text, "sleeping.yaml"), store)
    assert outcome.counts == {"completed": 7, "stopped": 0, "diverged": 0, "failed": 0}
    whole = tmp_path / "whole"
    whole.mkdir()
    run(whole, slots=2, trials=7, seconds=0.0)
    assert results(tmp_path / "store") == results(whole / "store"), "begun anew twice, or in one go"


def results(store: Path) -> list[tuple[object, ...]]:
    with Ledger.open(f"sqlite:///{store / 'ledger.db'}") as ledger:
        (study,) = ledger.summaries()
        return [(trial.values, trial.val, trial.weights_sha256) for trial in ledger.trials(study.id)]
