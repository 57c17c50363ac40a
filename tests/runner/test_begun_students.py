"""Studies whose student is one of several networks that begin with weights: the record names the files of all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kdstudy.analysis import reproduce_trial
from kdstudy.errors import StoreError
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.plugins import allow_plugins
from kdstudy.runner import confirm_study, run_study
from kdstudy.storage import Store
from kdstudy.study import parse_study
from tests.begun import PLUGIN, weights_file
from tests.runner.in_process import InProcess

TEXT = """
name: several
data: {{name: synthetic, val_fraction: 0.25}}
teacher: {{model: {{"{plugin}": {{weights: {teacher}}}}}, head_epochs: 1, allow_weak: true}}
student:
  model:
    choice:
    - resnet8
    - {{"{plugin}": {{weights: {first}}}}}
    - {{"{plugin}": {{weights: {second}}}}}
train: {{epochs: 1, batch_size: 64, base_lr: 0.05}}
arms: {{transfers: [kd], policies: [constant]}}
search: {{trials_per_arm: 6, sampler: random}}
confirm: {{seeds: 0}}
"""


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    allow_plugins("tests")
    return [weights_file(tmp_path / f"{seed}.pt", seed=seed) for seed in (5, 6, 7)]


def run(files: list[Path], folder: Path) -> Store:
    store = Store.at(str(folder / "store"), tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    named = dict(zip(("teacher", "first", "second"), files, strict=True))
    run_study(parse_study(TEXT.format(plugin=PLUGIN, **named)), store, cluster=InProcess())
    return store


def begun_by(trial: TrialRecord, file: Path) -> bool:
    return str(file) in str(trial.values)


@pytest.mark.slow
def test_all_files_are_recorded_and_a_trial_is_compared_with_its_own(files: list[Path], tmp_path: Path) -> None:
    store = run(files, tmp_path)
    with Ledger.open(store.ledger_url) as ledger:
        trials = ledger.trials(ledger.resolve("latest"))
        recorded = ledger.study(trials[0].study_id).teacher.weights or {}
        teacher, first, second = map(sha256, files)
        assert recorded == {"tiny": teacher, f"tiny @{first[:12]}": first, f"tiny @{second[:12]}": second}
        plain, one, other = (
            next(trial for trial in trials if begun_by(trial, sought))
            for sought in (Path("resnet8"), files[1], files[2])
        )
        assert [reproduce_trial(ledger, store, trial).verdict for trial in (plain, one, other)] == ["identical"] * 3
        weights_file(files[2], seed=8)
        assert reproduce_trial(ledger, store, one).verdict == "identical"
        found = reproduce_trial(ledger, store, other)
        assert (found.verdict, found.differences[-1]["field"]) == ("differs", "weights.tiny")
        assert found.differences[-1]["here"] == sha256(files[2])
    with pytest.raises(StoreError, match="weights: 'tiny' has sha256"):
        confirm_study("latest", store, seeds=1, cluster=InProcess())
