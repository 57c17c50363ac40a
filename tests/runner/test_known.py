"""What is said of studies that are over, of a second one of the same file, and of one that never began."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from kdstudy.cli import run
from kdstudy.ledger import LeaseOwner, Ledger, StudyRecord
from kdstudy.runner import resume_study, searches_left
from kdstudy.runner.known import tell_of_twin
from kdstudy.storage import Store
from tests.confirmed import ID, record, study_of
from tests.tiny import TINY, prepared

ARMS = {"none/constant": [[0.5]], "none/decay": [[0.6]]}
MANY = {arm: scores * 8 for arm, scores in ARMS.items()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.at(str(tmp_path / "store"))
    store.create()
    return store


def test_resume_of_a_finished_study_says_so_and_what_can_be_done(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kdstudy")
    with Ledger.open(store.ledger_url, create=True) as ledger:
        record(ledger, ARMS)
        ledger.update_study(ID, tracking=replace(ledger.study(ID).tracking, complete=True))
        last = max(trial.stage.finished for trial in ledger.trials(ID))  # type: ignore[union-attr]
    assert resume_study("latest", store).study.status == "finished"
    assert caplog.messages == [
        f"study {ID} is finished (its last trial ended {last:%Y-%m-%d %H:%M} UTC): nothing is left to run; "
        f"`kdstudy compare {ID}` shows what it found, `kdstudy confirm {ID} --searches 4` adds to it"
    ]


@pytest.mark.parametrize(
    ("confirm", "asked", "left"),
    [
        ("{searches: 1, seeds: 1}", None, 4),
        ("{searches: 3, seeds: 1, at_most: 5}", None, 2),
        ("{searches: 3, seeds: 1, at_most: 12}", 6, 4),
        ("{searches: 3, seeds: 1, at_most: 8}", 8, 0),
        ("{searches: 3, seeds: 1, at_most: 8}", 9, 0),
    ],
)
def test_no_more_searches_are_advised_than_the_file_allows(confirm: str, asked: int | None, left: int) -> None:
    study = study_of(ARMS, confirm.strip("{}"))
    assert searches_left(replace(StudyRecord.of(study, {}), searches=asked)) == left


@pytest.mark.parametrize(("searches", "advised"), [(1, "--searches 4"), (6, "--searches 2"), (8, None)])
def test_the_end_of_a_study_advises_what_is_allowed(
    searches: int, advised: str | None, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    confirm = "searches: 1, seeds: 1" if searches == 1 else f"searches: {searches}, seeds: 1, at_most: 8"
    arms = {arm: scores[:searches] for arm, scores in MANY.items()}
    with Ledger.open(store.ledger_url, create=True) as ledger:
        record(ledger, arms, confirm)
        ledger.update_study(ID, tracking=replace(ledger.study(ID).tracking, complete=True))
    assert run(["resume", "--store", str(store.local)]) == 0
    told = capsys.readouterr()
    assert ("confirm" in told.out.partition("next:")[2]) == (advised is not None)
    assert advised is None or f"confirm {ID} {advised}" in told.out
    assert (advised or "--seeds 2") in told.err


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("finished", f"`kdstudy compare {ID}` shows what it found"),
        ("interrupted", f"is interrupted, and this begins another; `kdstudy resume {ID}` goes on with it"),
        ("failed", f"is failed, and this begins another; `kdstudy resume {ID}` goes on with it"),
        ("running", f"`kdstudy show {ID} --watch` follows it"),
    ],
)
def test_a_second_run_of_the_same_file_is_told_of_the_first(
    status: str, told: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kdstudy")
    with Ledger.open(store.ledger_url, create=True) as ledger:
        record(ledger, ARMS)
        text = ledger.study(ID).text
        ledger.update_study(ID, status=status)
        if status == "running":
            ledger.acquire_lease(ID, LeaseOwner.here())
        tell_of_twin(text, ledger)
        (line,) = caplog.messages
        assert line.startswith(f"note: study {ID} of the same file is {status}")
        assert told in line
        tell_of_twin(text.replace("base_lr", "base_rate"), ledger)
        assert caplog.messages == [line], "a file that was changed is another"


@pytest.mark.parametrize("fault", ["layers: [[midd, layer2]]", "layers: [[layer1, layer1], [layer1, layer2]]"])
def test_what_only_a_node_sees_is_told_with_that_nothing_was_trained(fault: str, tmp_path: Path) -> None:
    assert prepared(f"{TINY}{fault}\n", tmp_path)["error"].endswith("; nothing was trained")
    assert not any(tmp_path.iterdir())


def test_it_is_not_said_once_a_teacher_was_trained(tmp_path: Path) -> None:
    told = prepared(TINY.replace("epochs: 1}", "epochs: 1, base_lr: 1.0e-9}"), tmp_path)["error"]
    assert "near chance" in told and "nothing was trained" not in told
