"""``export``: what a student that is taken home says of itself, and whether its code is what it was."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import kdstudy
from kdstudy.cli import run
from kdstudy.ledger import DatasetInfo, Ledger, TrialRecord
from kdstudy.models import NetworkSpec, save_student
from kdstudy.results import TrialResult
from kdstudy.runner.open_study import new_record
from kdstudy.storage import Store
from kdstudy.study import ArmId, parse_study
from tests.confirmed import study_of

CLASSES = [f"digit {number}" for number in range(10)]
MODEL = """\
from torch import nn


class Net(nn.Sequential):
    def __init__(self, num_classes, in_channels, *, width: int = 4):
        body = nn.Conv2d(in_channels, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        super().__init__(*body, nn.Linear(width, num_classes))
"""


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a trial of the user's own network, and that network's module; the student is of an older version."""
    (tmp_path / "homenet.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("KDSTUDY_ALLOW_PLUGINS", "homenet")
    monkeypatch.setenv("KDSTUDY_STORE", str(tmp_path / "store"))
    monkeypatch.delitem(sys.modules, "homenet", raising=False)
    text = study_of({"kd/constant": []}, "seeds: 1").text
    study = parse_study(text.replace("student: {model: resnet8}", 'student: {model: "homenet:Net"}'), "study.yaml")
    spec = NetworkSpec("homenet:Net", {}, num_classes=10, image_shape=(1, 8, 8), mean=(0.3,), std=(0.4,))
    network = spec.build(seed=1)
    monkeypatch.setitem(sys.modules, "homenet", sys.modules["homenet"])
    store = Store.at(str(tmp_path / "store"))
    store.create()
    began = replace(new_record(study), dataset=DatasetInfo(name="digits", classes=CLASSES))
    with Ledger.open(store.ledger_url, create=True) as ledger:
        ledger.create_study(began)
        ledger.add_trial(TrialRecord(began.id, 3, "search", ArmId("kd", "constant"), 0, 1, 2, {}))
        ledger.start_trial(began.id, 3)
        ledger.finish_trial(began.id, 3, TrialResult("completed", 1, 0.75, None, "ab" * 32))
    save_student(network, store.trial(began.id, 3) / "student", spec, {"provenance": {"study": "digits"}})
    return tmp_path


def export(folder: Path, *options: str) -> int:
    return run(["export", "latest", "--trial", "3", "--format", "safetensors", "-o", str(folder / "out"), *options])


def test_a_student_taken_home_names_its_classes_and_its_trial(taken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(taken) == 0
    captured = capsys.readouterr()
    assert "warning" not in captured.err
    assert kdstudy.load_student(taken / "out").class_names == tuple(CLASSES)
    described = json.loads((taken / "out" / "student.json").read_text())["provenance"]
    study_id = described.pop("study_id")
    assert captured.out.startswith(f"{taken}/out: the student of {study_id}, trial 3 (kd/constant), as safetensors")
    assert described == {
        "study": "digits",
        "trial": 3,
        "phase": "search",
        "arm": "kd/constant",
        "val": 0.75,
        "weights_sha256": "ab" * 32,
    }


def test_a_network_whose_code_was_changed_is_told(taken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (taken / "homenet.py").write_text(MODEL + "# mended\n")
    assert export(taken) == 0
    told = "the plug-in's code homenet.py has changed since the study began"
    assert f"warning: {told}: this student is the recorded weights in the code of today\n" in capsys.readouterr().err
    assert export(taken, "--json") == 0
    (difference,) = json.loads(capsys.readouterr().out)["differences"]
    assert difference["field"] == "plugin_sources.homenet.py"
    trial = kdstudy.load_study("latest").trial(3)
    assert trial.export(taken / "again") == taken / "again"


def test_changed_code_that_no_longer_fits_the_weights_is_named_with_them(
    taken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (taken / "homenet.py").write_text(MODEL.replace("width: int = 4", "width: int = 5"))
    monkeypatch.delitem(sys.modules, "homenet")
    assert export(taken) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error:"))
    assert "the weights do not fit the network of student.json" in line
    assert line.endswith("(the plug-in's code homenet.py has changed since the study began)")
