"""Studies read in Python say what the command line prints, and reading them imports no torch."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kdstudy
from kdstudy.cli import run as command
from kdstudy.errors import RecordError, StudyError
from kdstudy.ledger import DatasetInfo, Ledger, TeacherInfo, TrialRecord
from kdstudy.results import EpochRecord, LayerRecord
from kdstudy.study import ArmId
from tests.confirmed import ID, record

ARMS = {"kd/constant": [(0.90, 0.92)] * 3, "kd/placebo": [(0.80, 0.84)] * 3}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms over three searches; a trial that waits, and one with an epoch."""
    folder = tmp_path_factory.mktemp("store")
    kdstudy.Store.at(str(folder)).create()
    layers = (LayerRecord("layer1", 0.25, 0.5, 1.5, 0.75),)
    with Ledger.open(f"sqlite:///{folder / 'ledger.db'}", create=True) as ledger:
        known = {"teacher": TeacherInfo(val=0.98, test=0.97), "dataset": DatasetInfo("digits", num_classes=10)}
        record(ledger, ARMS, **known)
        values = {"train.base_lr": 0.0512345, "student.model": {"resnet14": {"shortcut": "A"}}}
        ledger.add_trial(TrialRecord(ID, 90, "search", ArmId("kd", "placebo"), 9, 1, 1, values, search=2))
        ledger.record_epoch(ID, 90, EpochRecord(1, 0.5, {"kd": 0.25}, 0.5, 0.7, 0.1, {"head": 0.1}, layers))
    return folder


def printed(capsys: pytest.CaptureFixture[str], store: Path, *words: str) -> str:
    assert command([*words, "--store", str(store)]) == 0
    return capsys.readouterr().out


def told(row: dict[str, Any], trial: dict[str, Any]) -> dict[str, Any]:
    """A row of the frame as the JSON of a trial."""
    plain = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
    document = {key: value for key, value in plain.items() if "." not in key}
    for part in ("seeds", "values"):
        document[part] = {name: plain[f"{part}.{name}"] for name in trial[part]}
    transfer, policy = plain["arm"].split("/")
    return {**document, "arm": {"transfer": transfer, "policy": policy}}


def test_the_frame_of_trials_is_show_json(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(printed(capsys, store, "show", ID, "--json"))
    study = kdstudy.load_study(store=store)
    assert study.to_json() == shown
    rows = study.trials_dataframe().to_dict("records")
    assert [told(row, trial) for row, trial in zip(rows, shown["trials"], strict=True)] == shown["trials"]
    assert study.trials_dataframe("confirm")["test"].dtype == float
    assert len(study.trials_dataframe("confirm")) == 12
    assert [trial.to_json() for trial in study.trials] == shown["trials"]


def test_the_frame_of_epochs_has_a_row_for_each_with_its_layers(store: Path) -> None:
    (row,) = kdstudy.load_study(ID[:9], store=store).epochs_dataframe().to_dict("records")
    expected = {
        "trial": 90, "arm": "kd/placebo", "search": 2, "phase": "search", "epoch": 1, "loss": 0.5, "terms.kd": 0.25,
        "val": 0.5, "val_loss": 0.7, "rate": 0.1, "rates.head": 0.1, "divergence.layer1": 0.25, "momentum.layer1": 0.5,
        "multiplier.layer1": 1.5, "chance.layer1": 0.75,
    }  # fmt: skip
    assert expected.items() <= row.items()


def test_a_comparison_is_that_of_the_command(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = kdstudy.load_study(store=store)
    comparison = study.compare()
    assert comparison.to_json() == json.loads(printed(capsys, store, "compare", ID, "--json"))
    assert kdstudy.compare(study).to_json() == kdstudy.compare(store=store).to_json() == comparison.to_json()
    (row,) = comparison.to_dataframe().to_dict("records")
    # Both seeds of each of the three searches differ by 0.90 - 0.80 and 0.92 - 0.84: -0.09 in the mean.
    assert row["treatment"] == "placebo"
    assert row["difference"] == pytest.approx(-0.09)
    verdicts = printed(capsys, store, "compare", ID).partition("Take home")[0]
    assert verdicts in str(comparison)
    html = comparison._repr_html_()
    assert "<td>kd/placebo</td>" in html
    assert "&lt;" not in study._repr_html_()
    assert f"{ID}: finished" in study._repr_html_()


def test_other_ways_to_read(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = kdstudy.load_study(store=kdstudy.Store.at(str(store)))
    assert [summary.id for summary in kdstudy.studies(store=store)] == [study.id] == [ID]
    assert study == kdstudy.load_study(ID, store=store)
    assert (study.best_trial.phase, study.take_home.phase) == ("search", "confirm")
    assert study.take_home.arm == "kd/constant"
    assert study.trial(90).epochs[0].layers[0].multiplier == 1.5
    shown = printed(capsys, store, "report", ID, "--format", "md")
    assert Path(study.report(tmp_path / "out.md")).read_text() == shown
    assert Path(study.report(form="md")).read_text() == shown
    optuna = study.to_optuna("kd/placebo")
    assert [trial.state.name for trial in optuna.trials] == []  # these trials record no values of the range


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda store: kdstudy.load_study("quickstart.yaml", store=store), RecordError, "takes the ID of a study"),
        (lambda store: kdstudy.load_study("nothing", store=store), RecordError, "nothing"),
        (lambda store: kdstudy.load_study(store=store).trial(5000), RecordError, "5000"),
        (lambda store: kdstudy.load_study(store=store).to_optuna("kd/lag"), StudyError, "kd/lag"),
        (lambda store: kdstudy.load_study(store=store).report("page.pdf"), StudyError, "page.pdf"),
        (lambda store: kdstudy.load_study(store=store).report(form="pdf"), StudyError, "html, md, json"),
        (lambda store: kdstudy.load_study(store=store).confirm(), StudyError, "neither"),
        (lambda store: kdstudy.load_study(store=store).trial(90).load_student(), RecordError, "has no student"),
        (lambda store: kdstudy.studies(store=store / "none"), kdstudy.KdstudyError, "does not exist"),
    ],
)
def test_what_a_caller_can_put_right_is_one_line(store: Path, call: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said) as error:
        call(store)
    assert "\n" not in str(error.value)


def test_check_returns_every_problem(tmp_path: Path) -> None:
    wrong = {"name": "x", "trian": {}, "seed": -1}
    problems = kdstudy.check(wrong)
    assert any("trian" in line for line in problems)
    assert any("seed" in line for line in problems)
    (tmp_path / "x.yaml").write_text("name: x\ntrian: {}\nseed: -1\n")
    from_file = kdstudy.check(tmp_path / "x.yaml")
    assert [line.partition(": ")[2] for line in from_file] == [line.partition(": ")[2] for line in problems]
    assert kdstudy.check({"name": object()}) == ("study: holds what no study file can, got object; write plain values",)


def test_to_import_and_to_read_loads_no_torch(store: Path, tmp_path: Path) -> None:
    code = f"""
import sys, kdstudy
study = kdstudy.load_study(store={str(store)!r})
str(study.compare()), study.compare()._repr_html_(), study._repr_html_(), repr(study), repr(study.trials)
study.plot_verdict(), study.trials_dataframe(), study.epochs_dataframe(), study.report({str(tmp_path / "page.html")!r})
print(*sorted({{"torch", "ray", "mlflow"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
