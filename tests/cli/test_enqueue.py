"""``enqueue``: what the command takes and says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdstudy.cli import run
from kdstudy.ledger import Ledger
from tests.confirmed import ID, record


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", create=True) as ledger:
        record(ledger, {"kd/constant": [], "none/constant": []}, "searches: 2, seeds: 1", status="interrupted")
    return tmp_path


def test_what_will_be_tried_is_told(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["enqueue", "latest", "--values", "base_lr=5e-2", "--store", str(store)]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{ID}: base_lr 0.05 will be tried in 4 trials; `")
    assert others == [f"  {arm}/constant, search {search}, its trial 0" for search in (0, 1) for arm in ("kd", "none")]
    assert run(["enqueue", ID, "--values", "train.base_lr=0.02", "--json", "--store", str(store)]) == 1
    assert "have no trial left" in capsys.readouterr().err


def test_json_names_the_places(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["enqueue", ID, "--values", "base_lr=0.1", "--json", "--store", str(store)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["study_id"] == ID
    assert document["trials"][0] == {"arm": "kd/constant", "search": 0, "index": 0, "values": {"train.base_lr": 0.1}}


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        (["base_lr"], 2, "write KEY=VALUE, such as base_lr=0.1, got 'base_lr'"),
        (["base_lr="], 2, "write KEY=VALUE"),
        (["base_lr=0.1", "base_lr=0.2"], 2, "a key is given twice"),
        (["base_lr=7"], 1, "train.base_lr of kd/constant is searched in {log: [0.01, 0.1]}, got 7; choose a value"),
        (["base_lr=[1"], 1, "error: --values:1"),
        (["speed=1"], 1, "nothing is searched under 'speed'; choose from train.base_lr"),
    ],
)
def test_what_cannot_be_enqueued_is_one_line(
    given: list[str], code: int, told: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [word for text in given for word in ("--values", text)]
    assert run(["enqueue", ID, *options, "--store", str(store)]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and told in captured.err
