"""Titles of studies, and studies that lists leave out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

import kdstudy
from kdstudy.cli import run
from kdstudy.ledger import Ledger
from kdstudy.results import SummaryDocument
from tests.cli.test_schemas import validate
from tests.confirmed import record

FIRST, SECOND = "digits-00000001", "digits-00000002"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", create=True) as ledger:
        for day, study_id in enumerate((FIRST, SECOND), 1):
            record(ledger, {"kd/constant": [(0.9,)]}, study_id=study_id, created=datetime(2026, 1, day, tzinfo=UTC))
    return tmp_path


def listed(store: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, SummaryDocument]:
    capsys.readouterr()
    assert run(["list", "--json", *options, "--store", str(store)]) == 0
    document = json.loads(capsys.readouterr().out)
    validate("list", document)
    return {each["study_id"]: each for each in document}


def test_an_archived_study_is_left_out_until_it_is_asked_for(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["archive", SECOND, "--store", str(store)]) == 0
    assert capsys.readouterr().out == f"{SECOND}: archived; `kdstudy list --all` lists it\n"
    assert [*listed(store, capsys)] == [FIRST]
    assert {name: each["archived"] for name, each in listed(store, capsys, "--all").items()} == {
        FIRST: False,
        SECOND: True,
    }
    assert [each.id for each in kdstudy.studies(store=store)] == [FIRST]
    assert [each.id for each in kdstudy.studies(archived=True, store=store)] == [FIRST, SECOND]
    assert kdstudy.load_study("latest", store=store).id == FIRST, "the latest of those that are listed"
    assert kdstudy.load_study(SECOND, store=store).id == SECOND
    assert run(["list", "--all", "--store", str(store)]) == 0
    assert "finished, archived" in capsys.readouterr().out
    assert run(["archive", FIRST, "--store", str(store)]) == 0
    assert kdstudy.load_study("latest", store=store).id == SECOND, "of none that is listed, the latest"
    assert run(["list", "--store", str(store)]) == 0
    assert f"all 2 studies in {store} are archived; --all lists them" in capsys.readouterr().out
    assert run(["archive", FIRST, SECOND, "--undo", "--store", str(store)]) == 0
    assert [*listed(store, capsys)] == [FIRST, SECOND]


def test_a_title_stands_in_the_list_and_for_the_id(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--store", str(store)]) == 0
    assert "title" not in capsys.readouterr().out, "no empty column"
    assert run(["rename", FIRST, "the good one", "--store", str(store)]) == 0
    assert capsys.readouterr().out == f"{FIRST}: is called 'the good one'\n"
    assert run(["list", "--store", str(store)]) == 0
    assert "the good one" in capsys.readouterr().out
    assert kdstudy.load_study("the good one", store=store).id == FIRST
    assert kdstudy.load_study(FIRST, store=store).name == "digits", "what names its experiment in MLflow stays"
    assert run(["archive", "the good one", "--store", str(store)]) == 0
    capsys.readouterr()
    assert listed(store, capsys, "--all")[FIRST]["title"] == "the good one", "neither undoes the other"
    assert run(["rename", FIRST, "--store", str(store)]) == 0
    capsys.readouterr()
    assert listed(store, capsys, "--all")[FIRST]["title"] is None


@pytest.mark.parametrize("title", ["", " padded", "latest", "two\nlines", "x" * 81, SECOND, "digits", "taken"])
def test_a_title_that_would_mislead_is_one_line(title: str, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rename", SECOND, "taken", "--store", str(store)]) == 0
    capsys.readouterr()
    assert run(["rename", FIRST, title, "--store", str(store)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: title: ") and "choose another" in line
    assert listed(store, capsys)[FIRST]["title"] is None


def test_a_study_that_is_deleted_leaves_its_title_behind_for_others(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rename", FIRST, "mine", "--store", str(store)]) == 0
    with Ledger.open(f"sqlite:///{store / 'ledger.db'}") as ledger:
        ledger.delete_study(FIRST)
    assert run(["rename", SECOND, "mine", "--store", str(store)]) == 0
    capsys.readouterr()
    assert [each["title"] for each in listed(store, capsys).values()] == ["mine"]


@pytest.mark.parametrize("command", [["archive", "gone"], ["rename", "gone", "x"]])
def test_a_study_that_is_not_there_is_one_line(
    command: list[str], store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--store", str(store)]) == 1
    assert "study 'gone': no ID in" in capsys.readouterr().err
