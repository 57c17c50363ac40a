"""`kdstudy show --replay`: a recorded trial's multipliers as the policy that repeats them."""

import textwrap
from pathlib import Path

import pytest

from kdstudy.cli import run
from kdstudy.ledger import DatasetInfo, Ledger, StudyRecord, TrialRecord
from kdstudy.results import EpochRecord, LayerRecord
from kdstudy.study import ArmId, parse_study

FILE = """
name: replayed
data: {name: synthetic}
teacher: {model: resnet8, epochs: 1}
student: {model: resnet8}
train: {epochs: 5, batch_size: 32, base_lr: 0.1}
search: {trials_per_arm: 1}
arms:
  transfers: [attention]
  policies:
"""
RECORDED = FILE + "    - constant\n    - layerwise: {interval: 2}\n"
STUDY = StudyRecord("tiny-00000001", "tiny", 0, RECORDED, "finished", dataset=DatasetInfo("synthetic"))
# Doubles that a shorter print would change.
ROWS = [[0.1 + 0.2, 1e-05, 2.0], [1 / 3, 1.0, 1.2345678901234567]]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store whose study has a constant trial, 0, and a layer-wise one, 1, updated after epochs 2 and 4 of 5."""
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", create=True) as ledger:
        ledger.create_study(STUDY)
        for number, policy in enumerate(("constant", "layerwise")):
            ledger.add_trial(TrialRecord(STUDY.id, number, "search", ArmId("attention", policy), 0, 0, number))
            for epoch in range(1, 6):
                factors = ROWS[epoch // 2 - 1] if policy == "layerwise" and epoch in (2, 4) else []
                layers = tuple(LayerRecord(f"layer{k}", 0.1, 0.0, factor) for k, factor in enumerate(factors, 1))
                record = EpochRecord(epoch, 1.0, {}, 0.5, 1.0, 0.1, {}, layers)
                ledger.record_epoch(STUDY.id, number, record)
    return tmp_path


def test_what_is_printed_is_a_policy_with_every_digit_of_the_trial(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", "latest", "--trial", "1", "--replay", "--store", str(store)]) == 0
    study = parse_study(FILE + textwrap.indent(capsys.readouterr().out, "    "), "replayed.yaml")
    (arm,) = study.arms
    assert arm.name == "attention/replay"
    assert (arm.policy.options["interval"], arm.policy.options["multipliers"]) == (2, ROWS)


def test_a_trial_without_updates_has_nothing_to_replay(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "latest", "--trial", "0", "--replay", "--store", str(store)]) == 1
    assert "trial 0 of tiny-00000001 has no updates to replay, its arm is attention/constant" in capsys.readouterr().err
