"""``delete`` asks on stderr: what goes to stdout is the answer alone, and nothing goes unless yes was said."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from kdstudy.cli import run
from kdstudy.ledger import Ledger
from kdstudy.storage import Store
from tests.confirmed import ID, record

ARMS = {"none/constant": [[0.5]]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.at(str(tmp_path / "store"))
    store.create()
    with Ledger.open(store.ledger_url, create=True) as ledger:
        record(ledger, ARMS)
        record(ledger, ARMS, study_id="digits-00000002")
    return store


def asked(store: Store, monkeypatch: pytest.MonkeyPatch, answer: str, *options: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    return run(["delete", ID, "--store", str(store.local), *options])


def left(store: Store) -> list[str]:
    with Ledger.open(store.ledger_url) as ledger:
        return [each.id for each in ledger.summaries()]


@pytest.mark.parametrize("answer", ["n\n", "no\n", "\n"])
def test_no_removes_nothing_and_says_so(
    answer: str, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(store, monkeypatch, answer, "--json") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.endswith("nothing removed\n")
    assert "interrupted" not in told.err
    assert left(store) == [ID, "digits-00000002"]


def test_where_nobody_can_answer_nothing_is_removed(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(store, monkeypatch, "") == 1
    assert capsys.readouterr().err.endswith("nobody answered; --yes does not ask\nnothing removed\n")
    assert left(store) == [ID, "digits-00000002"]


def test_an_interrupt_is_no_answer(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(io.StringIO):
        def readline(self, _size: int | None = -1) -> str:  # type: ignore[override]
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", Interrupted())
    assert run(["delete", ID, "--store", str(store.local)]) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")
    assert left(store) == [ID, "digits-00000002"]


def test_after_yes_stdout_holds_the_answer_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(store, monkeypatch, "y\n", "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["study_id"] == ID
    assert told.out.startswith("{"), "no blank before it"
    assert left(store) == ["digits-00000002"]


def test_a_prefix_of_two_studies_is_told_with_what_they_are(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["delete", "--yes"], ["show"], ["resume"], ["confirm", "--seeds", "1"]):
        assert run([command[0], "digits-0", *command[1:], "--store", str(store.local)]) == 1
        err = capsys.readouterr().err
        assert f"error: study 'digits-0': 2 IDs begin so: {ID} (" in err
        assert err.count(" trial") == 2
        assert len(err.splitlines()) == 1
    assert left(store) == [ID, "digits-00000002"]
