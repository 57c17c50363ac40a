"""``diff``: two trials of the record side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdstudy.cli import run
from kdstudy.ledger import DatasetInfo, Ledger, TeacherInfo, TrialRecord
from kdstudy.results import EpochRecord, LayerRecord, TrialResult
from kdstudy.study import ArmId
from tests.confirmed import record

FIRST, SECOND = "digits-00000001", "other-00000002"
ARM = ArmId("kd", "constant")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two studies, of other data, teacher and torch; in each a trial with a layer, in the first a twin of it."""
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", create=True) as ledger:
        for study_id, torch, sha256 in ((FIRST, "2.11", "aa"), (SECOND, "2.12", "bb")):
            record(
                ledger,
                {"kd/constant": [(0.9,)]},
                study_id=study_id,
                environment={"versions": {"torch": torch}},
                dataset=DatasetInfo("digits", fingerprint=sha256, notes=[sha256]),
                teacher=TeacherInfo(sha256="cc", seconds=float(len(torch))),
            )
        trials = ((FIRST, 7, 0.1, 1.5, 0.75), (FIRST, 8, 0.1, 1.5, 0.75), (SECOND, 9, 0.2, 2.0, 0.5))
        for study_id, number, rate, multiplier, val in trials:
            config = {"train": {"base_lr": rate, "epochs": 2}, "policy": "constant"}
            ledger.add_trial(
                TrialRecord(study_id, number, "search", ARM, number, 1, 2, {"train.base_lr": rate}, config)
            )
            ledger.start_trial(study_id, number)
            for epoch in (1, 2):
                layer = LayerRecord("layer1", 0.25, 0.5, multiplier if epoch == 2 else 1.0, 0.75)
                ledger.record_epoch(study_id, number, EpochRecord(epoch, 1.0, {}, val, 1.0, rate, {}, (layer,)))
            ledger.finish_trial(study_id, number, TrialResult("completed", 2, val, None, "ab" * 32, seconds=4.0))
    return tmp_path


def test_what_differs_is_told_part_by_part(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", f"{FIRST}:7", "other:9", "--json", "--store", str(store)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "trials": [
            {"study_id": FIRST, "trial": 7, "arm": "kd/constant"},
            {"study_id": SECOND, "trial": 9, "arm": "kd/constant"},
        ],
        "values": [{"field": "train.base_lr", "first": 0.1, "second": 0.2}],
        "config": [{"field": "train.base_lr", "first": 0.1, "second": 0.2}],
        "inputs": [{"field": "dataset.fingerprint", "first": "aa", "second": "bb"}],
        "environment": [{"field": "versions.torch", "first": "2.11", "second": "2.12"}],
        "layers": [{"field": "layer1.multiplier", "first": 1.5, "second": 2.0}],
        "scores": [{"field": "val", "first": 0.75, "second": 0.5}],
    }
    assert run(["diff", f"{FIRST}:7", "other:9", "--store", str(store)]) == 0
    told = capsys.readouterr().out
    rows = [line.split() for line in told.splitlines()]
    assert ["layer1.multiplier", "1.5", "2"] in rows and ["versions.torch", "2.11", "2.12"] in rows
    assert [f"{FIRST}:7", f"{SECOND}:9"] in rows


def test_twins_differ_in_nothing(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", f"{FIRST}:7", f"{FIRST}:8", "--store", str(store)]) == 0
    assert capsys.readouterr().out == (
        "no difference: searched values, configuration, data and teacher, environment, layers, as last measured and "
        "set, how it went\n"
    )


def test_without_a_number_it_is_the_trial_to_take_home(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", FIRST, f"{FIRST}:7", "--json", "--store", str(store)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [trial["trial"] for trial in document["trials"]] == [1, 7]
    assert {"field": "test", "first": 0.9, "second": None} in document["scores"]
    assert {"field": "layer1.multiplier", "first": None, "second": 1.5} in document["layers"]


@pytest.mark.parametrize(
    ("reference", "code", "told"),
    [
        (f"{FIRST}:99", 1, f"error: study '{FIRST}': it has no trial 99"),
        ("gone:1", 1, "error: study 'gone': no ID"),
        (":3", 2, "':3' is no trial; write ID:TRIAL, such as latest:3"),
        ("latest:", 2, "'latest:' is no trial"),
        ("latest:x", 1, "error: study 'latest:x': no ID"),
    ],
)
def test_a_trial_that_is_not_there_is_one_line(
    reference: str, code: int, told: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["diff", reference, FIRST, "--store", str(store)]) == code
    assert told in capsys.readouterr().err
