"""`kdstudy show ID`: a line for every trial, and why one failed."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from pathlib import Path

import pytest

from kdstudy.cli import run
from kdstudy.ledger import DatasetInfo, Ledger, TeacherInfo, TrialRecord
from kdstudy.results import EpochRecord, LayerRecord, TrialResult, reason_of
from kdstudy.study import ArmId
from tests.confirmed import ID, record

ERROR = "Traceback (most recent call last):\n  File 'terms.py', line 3\nKeyError: 'layer9'\n"
KNOWN = {"teacher": TeacherInfo(val=0.98, test=0.97), "dataset": DatasetInfo("digits", train=9, val=1, num_classes=10)}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """One search and one seed of two arms, a search trial that failed and one that waits."""
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", create=True) as ledger:
        record(ledger, {"kd/constant": [(0.9,)], "kd/placebo": [(0.8,)]}, **KNOWN)
        for number in (7, 8):
            values = {"train.base_lr": 0.0512345, "student.model": {"resnet14": {"shortcut": "A"}}}
            ledger.add_trial(TrialRecord(ID, number, "search", ArmId("kd", "placebo"), number, 1, 1, values, search=2))
        ledger.finish_trial(ID, 7, TrialResult("failed", 0, error=ERROR, seconds=1.26))
    return tmp_path


def test_every_trial_has_a_line(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", ID, "--store", str(store)]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("trial "))
    assert lines[place].split() == [
        "trial", "search", "phase", "arm", "state", "val", "test", "seconds", "values", "reason",
    ]  # fmt: skip
    rows = [line.split() for line in lines[place + 2 : lines.index("", place)]]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "7", "8"]
    assert rows[0] == ["0", "0", "search", "kd/constant", "completed", "0.5000", "-", "3.0"]
    assert rows[2] == ["2", "0", "confirm", "seed", "0", "kd/constant", "completed", "0.5000", "0.9000", "3.0"]
    values = ["base_lr", "0.05123,", "model", "resnet14", "(shortcut", "A)"]
    assert rows[4] == ["7", "2", "search", "kd/placebo", "failed", "-", "-", "1.3", *values, "KeyError:", "'layer9'"]
    assert rows[5] == ["8", "2", "search", "kd/placebo", "queued", "-", "-", "0.0", *values]
    assert lines[lines.index("", place) + 1].startswith("arm "), "the summary is what stands on the screen at the end"


def test_the_command_that_takes_a_student_home_runs_as_printed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", ID, "--store", str(store)]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if " export " in line)
    program, *words = shlex.split(line)
    assert program.endswith("kdstudy")
    assert words == [
        *("export", ID, "--trial", "2", "--format", "safetensors", "-o", "student"),
        *("--store", str(store)),
    ]


def test_json_has_them_as_before(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", ID, "--json", "--store", str(store)]) == 0
    trials = json.loads(capsys.readouterr().out)["trials"]
    assert {trial["trial"]: trial["error"] for trial in trials} == {
        0: None,
        1: None,
        2: None,
        3: None,
        7: ERROR,
        8: None,
    }


def test_csv_has_a_row_per_trial_with_what_json_says(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", ID, "--json", "--store", str(store)]) == 0
    trials = json.loads(capsys.readouterr().out)["trials"]
    assert run(["show", ID, "--csv", "--store", str(store)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [int(row["trial"]) for row in rows] == [0, 1, 2, 3, 7, 8]
    for row, trial in zip(rows, trials, strict=True):
        assert row["arm"] == f"{trial['arm']['transfer']}/{trial['arm']['policy']}"
        assert (row["val"], row["test"]) == tuple(
            "" if trial[key] is None else str(trial[key]) for key in ("val", "test")
        )
        assert row["seeds.data_seed"] == str(trial["seeds"]["data_seed"])
        assert json.loads(row["config"]) == trial["config"]
        assert row["error"] == (trial["error"] or "")
    assert rows[4]["values.train.base_lr"] == "0.0512345"
    assert json.loads(rows[4]["values.student.model"]) == {"resnet14": {"shortcut": "A"}}
    assert rows[0]["values.train.base_lr"] == "", "trials without it leave it empty"


def test_csv_of_a_trial_has_a_row_per_epoch(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = (LayerRecord("layer1", 0.25, 0.5, 1.5, 0.75),)
    with Ledger.open(f"sqlite:///{store / 'ledger.db'}") as ledger:
        ledger.start_trial(ID, 8)
        for epoch, updated in ((1, ()), (2, layers)):
            ledger.record_epoch(ID, 8, EpochRecord(epoch, None, {"kd": 2.0}, 0.5, 1.0, 0.1, {"head": 0.2}, updated))
    assert run(["show", ID, "--trial", "8", "--csv", "--store", str(store)]) == 0
    first, second = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert {key: second[key] for key in ("trial", "arm", "epoch", "loss", "terms.kd", "val", "rates.head")} == {
        "trial": "8", "arm": "kd/placebo", "epoch": "2", "loss": "", "terms.kd": "2.0", "val": "0.5",
        "rates.head": "0.2",
    }  # fmt: skip
    assert (first["multiplier.layer1"], second["multiplier.layer1"]) == ("", "1.5")
    assert run(["show", ID, "--trial", "7", "--csv", "--store", str(store)]) == 0
    assert capsys.readouterr().out == "", "no epoch, no row"


@pytest.mark.parametrize("other", ["--json", "--yaml", "--watch"])
def test_csv_is_a_form_of_output_of_its_own(other: str, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", ID, "--csv", other, "--store", str(store)]) == 2
    assert "--csv" in capsys.readouterr().err


def test_a_study_without_trials_or_failures_has_no_empty_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", create=True) as ledger:
        record(ledger, {"kd/constant": [(0.9,)]}, study_id="whole-00000001", **KNOWN)
        record(ledger, {"kd/constant": []}, "seeds: 1", study_id="empty-00000001", **KNOWN)
    assert run(["show", "whole", "--store", str(tmp_path)]) == 0
    assert "reason" not in capsys.readouterr().out
    assert run(["show", "empty", "--store", str(tmp_path)]) == 0
    assert "trial " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ERROR, "KeyError: 'layer9'"), ("x", "x"), ("one\ntwo\n\n", "one"), ("  \n", ""), ("", ""), (None, "")],
)
def test_the_reason_is_the_first_line_of_what_was_raised_last(error: str | None, reason: str) -> None:
    assert reason_of(error) == reason


def test_a_trial_s_layers_have_divergence_share_of_chance_and_factor_and_a_legend(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", ID, "--trial", "8", "--store", str(store)]) == 0
    assert "d/c" not in capsys.readouterr().out
    layers = (
        LayerRecord("a", 0.25, 0.0, 1.5, 0.5),
        LayerRecord("b", 0.125, 0.0, 0.5),
        LayerRecord("c", 0.0, 0.0, 1.0, 0.0),
    )
    with Ledger.open(f"sqlite:///{store / 'ledger.db'}") as ledger:
        ledger.start_trial(ID, 8)
        common = {"loss": 1.0, "terms": {}, "val": 0.5, "val_loss": 1.0, "rate": 0.1, "rates": {}, "seconds": 1.0}
        ledger.record_epoch(ID, 8, EpochRecord(epoch=1, layers=layers, **common))
    assert run(["show", ID, "--trial", "8", "--store", str(store)]) == 0
    told = capsys.readouterr().out
    header, _, row, *legend = told[told.index("epoch ") :].splitlines()
    assert re.split(r"\s{2,}", header.strip())[-3:] == ["a d, d/c, x", "b d, d/c, x", "c d, d/c, x"]
    assert re.split(r"\s{2,}", row.strip())[-3:] == ["0.2500, 0.50, 1.500", "0.1250, -, 0.500", "0.0000, -, 1.000"]
    assert [line.partition(":")[0] for line in legend[:3]] == ["d", "d/c", "x"]


@pytest.mark.parametrize(("place", "made"), [("r.html", False), ("some/new/r.html", True), ("r.md", False)])
def test_a_folder_that_a_report_makes_is_told(
    store: Path, place: str, made: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    for again in (False, True):
        assert run(["report", ID, "-o", str(store / place), "--store", str(store)]) == 0
        assert capsys.readouterr().out.endswith(" (its folder was made)\n") == (made and not again)


@pytest.mark.parametrize("name", ["r.txt", "r.htm", "r.pdf"])
def test_a_report_of_an_unknown_suffix_is_refused_in_one_line(
    store: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = store / name
    assert run(["report", ID, "-o", str(target), "--store", str(store)]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "-o" in line)
    assert f"a report ends in .html, .md, .json, got '{target}'; name it so, or say --format" in line
    assert not target.exists()


@pytest.mark.parametrize(
    ("name", "form", "begins"),
    [("r.MD", [], "> **Warning"), ("r", [], "<!doctype html>"), ("r.txt", ["--format", "md"], "> **Warning")],
)
def test_a_report_is_what_its_suffix_or_format_says(store: Path, name: str, form: list[str], begins: str) -> None:
    assert run(["report", ID, "-o", str(store / name), *form, "--store", str(store)]) == 0
    assert (store / name).read_text().lower().startswith(begins.lower())
