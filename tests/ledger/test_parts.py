"""What a study's record says beside its status: typed, whatever version wrote it, and the checked study itself."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from kdstudy.errors import RecordError, StudyError
from kdstudy.ledger import DatasetInfo, Ledger, StudyRecord, TeacherInfo, TrackingRef
from kdstudy.study import Choice, Study, TrialConfig, parse_study
from tests.study.files import STUDY


def change(path: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(statement, values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.create_study(StudyRecord.of(parse_study(STUDY), {"python": "3.11"}))
    return tmp_path / "ledger.db"


def read(path: Path) -> StudyRecord:
    with Ledger.open(f"sqlite:///{path}") as ledger:
        return ledger.study(ledger.resolve("latest"))


def test_a_part_is_printed_as_it_was_recorded() -> None:
    for kind, values in (
        (TeacherInfo, {"key": "k", "val": 0.5, "seen": False, "epochs": 0, "of": {"later": None}}),
        (DatasetInfo, {"name": "digits", "fingerprints": {"train": "f"}, "multilabel": False, "train": 3}),
        (TrackingRef, {"uri": "sqlite:///x", "experiment_id": "1", "run_id": "r", "complete": True}),
        (TrackingRef, {}),
    ):
        assert kind.from_json(values).to_json() == values
    assert TeacherInfo.from_json({"of": 1}) == TeacherInfo(rest={"of": 1})


@pytest.mark.parametrize("column", ["dataset", "teacher", "tracking"])
@pytest.mark.parametrize("value", ["null", "[]", "7", '"text"', "true"])
def test_a_part_that_is_no_mapping_is_damaged(path: Path, column: str, value: str) -> None:
    change(path, f"UPDATE kdstudy_studies SET {column} = ?", value)
    with pytest.raises(RecordError, match=rf"its {column}: the record is damaged \(a mapping was expected, got "):
        read(path)


def test_a_part_of_another_type_is_damaged(path: Path) -> None:
    with pytest.raises(RecordError, match=r"study 'x': the record is damaged \(val: .*number"):
        TeacherInfo.from_json({"val": "0.5"}, "study 'x'")
    change(path, "UPDATE kdstudy_studies SET dataset = ?", '{"train": "many"}')
    with pytest.raises(RecordError, match=r"its dataset: the record is damaged \(train: "):
        read(path)


def test_the_checked_study_comes_back_without_its_text_being_read(path: Path) -> None:
    change(path, "UPDATE kdstudy_studies SET text = 'no study file'")
    assert read(path).study() == parse_study(STUDY)


def test_a_ledger_from_before_checked_studies_is_read_and_written(path: Path) -> None:
    change(path, "DROP TABLE kdstudy_checked_studies")
    record = read(path)
    assert record.checked is None
    assert record.study() == parse_study(STUDY, recorded=True)
    change(path, "UPDATE kdstudy_studies SET text = 'no study file'")
    with pytest.raises(StudyError, match=record.id):
        read(path).study()
    with Ledger.open(f"sqlite:///{path}") as ledger:
        new = StudyRecord.of(parse_study(STUDY), {})
        ledger.create_study(new)
        ledger.create_study(new)
        assert ledger.study(new.id) == replace(new, status="interrupted"), "nobody drives it"
        assert ledger.study(record.id).checked is None


def derivatives(normalise: str) -> str:
    return STUDY.replace("- none", f"- jacobian\n    - hessian: {{label: then, normalise: {normalise}}}")


def norms(study: Study) -> dict[str, object]:
    specs = {arm.transfer.called: arm.transfer.options for arm in study.arms}
    return {name: specs[name]["normalise"] for name in ("jacobian", "then")}


def test_a_file_of_an_older_ledger_means_what_it_meant(path: Path) -> None:
    """Which is ``running`` where it is silent: what was the default when nothing but the file was kept."""
    change(path, "DROP TABLE kdstudy_checked_studies")
    for written in ("running", "batch"):
        change(path, "UPDATE kdstudy_studies SET text = ?", derivatives(written))
        assert norms(read(path).study()) == {"jacobian": "running", "then": written}
    change(path, "UPDATE kdstudy_studies SET text = ?", derivatives("runing"))
    with pytest.raises(StudyError, match=r"then\.normalise: must be .* got \"runing\""):
        read(path).study()
    assert norms(parse_study(derivatives("sample"))) == {"jacobian": "batch", "then": "sample"}


def test_a_checked_study_keeps_the_norms_of_then(path: Path) -> None:
    written = parse_study(derivatives("{choice: [batch, sample]}")).to_json()
    written["arms"]["transfers"][1]["options"]["normalise"] = "running"
    written["arms"]["transfers"][2]["options"]["normalise"]["of"] = ["running", "batch"]
    change(path, "UPDATE kdstudy_checked_studies SET study = ?", json.dumps(written))
    study = read(path).study()
    assert norms(study) == {"jacobian": "running", "then": Choice(("running", "batch"))}
    values = {name: span.at(0.0) for name, span in study.space("then/constant").items()}
    config = study.config("then/constant", values, data_seed=0, init_seed=0)
    assert TrialConfig.validated(config.to_json()).transfer.options["normalise"] == "running"


def test_a_checked_study_that_is_damaged_is_refused(path: Path) -> None:
    written = parse_study(STUDY).to_json() | {"seed": -1}
    change(path, "UPDATE kdstudy_checked_studies SET study = ?", json.dumps(written))
    record = read(path)
    with pytest.raises(StudyError, match=rf"{record.id}: seed: must be greater than or equal to 0, got -1"):
        record.study()
    change(path, "UPDATE kdstudy_checked_studies SET study = '[]'")
    with pytest.raises(RecordError, match=r"the record is damaged \(checked: "):
        read(path)
