"""Studies, trials and epochs: what goes in comes out, and every change of state happens once."""

from __future__ import annotations

import json
import math
import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdstudy.errors import RecordError
from kdstudy.ledger import (
    DatasetInfo,
    Ended,
    LeaseOwner,
    Ledger,
    Publication,
    Queued,
    Running,
    StudyRecord,
    TeacherInfo,
    TrackingRef,
    TrialRecord,
    new_study_id,
)
from kdstudy.ledger.tables import TRIALS
from kdstudy.results import FINISHED_STATES, EpochRecord, LayerRecord, TrialResult
from kdstudy.study import ArmId
from tests.stages import START, ended

HOUR = timedelta(hours=1)

STUDY = StudyRecord("digits-00000001", "digits", 7, "name: digits\n", dataset=DatasetInfo("digits"))


def trial(number: int = 0, **changes: Any) -> TrialRecord:
    plain = TrialRecord(
        STUDY.id,
        number,
        "search",
        ArmId("attention", "layerwise"),
        number,
        11,
        2**62 + number,
        values={"train.base_lr": 0.1, "arms.policies.layerwise.interval": 2},
        config={"name": "x"},
    )
    return replace(plain, **changes)


def epoch(number: int, val: float | None = 0.5) -> EpochRecord:
    layers = (LayerRecord("layer1", 0.25, -0.5, 1.5),)
    return EpochRecord(number, 1.25, {"cross_entropy": 1.0}, val, 0.75, 0.1, {"head": 0.1}, layers, 3.5)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        opened.create_study(STUDY, LeaseOwner.here())
        yield opened


# Studies


def test_a_study_comes_back_as_it_was_recorded(tmp_path: Path) -> None:
    study = StudyRecord(
        "x-0123abcd",
        "x",
        2**63 - 1,
        "a: 1\n# \N{GREEK SMALL LETTER ALPHA}\n",
        "failed",
        datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5))),
        {"packages": {"torch": "2.13.0"}},
        DatasetInfo("digits", "f", rest={"of": [1, None]}),
        TeacherInfo(val=0.1 + 0.2),
        3,
        7,
        TrackingRef("u"),
        "why",
        searches=9,
    )
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.create_study(study)
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as again:
        found = again.study(study.id)
    assert found == study
    assert found.created.utcoffset() == timedelta(0)
    assert found.teacher.val == 0.1 + 0.2


@pytest.mark.parametrize("searches", ["0", "-3", "1000001", "4611686018427387904", "'many'"])
def test_a_number_of_searches_that_cannot_be_is_one_line(tmp_path: Path, searches: str) -> None:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.create_study(replace(STUDY, searches=3))
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as database, database:
            database.execute(f"UPDATE kdstudy_searches SET searches = {searches}")
        with pytest.raises(RecordError, match=r"study 'digits-00000001': the record is damaged \(searches: .*restore"):
            ledger.study(STUDY.id)


def test_creating_the_same_study_again_changes_nothing_and_another_of_its_id_is_refused(
    ledger: Ledger,
) -> None:
    ledger.update_study(STUDY.id, message="kept")
    ledger.create_study(STUDY)
    assert ledger.study(STUDY.id).message == "kept"
    with pytest.raises(RecordError, match=r"study 'digits-00000001': .*another one of that ID; take a new ID"):
        ledger.create_study(replace(STUDY, created=STUDY.created + timedelta(seconds=1)))


def test_fields_of_a_study_are_set_and_only_those_that_may_change(ledger: Ledger) -> None:
    ledger.update_study(STUDY.id, status="finished", lag=2, teacher=TeacherInfo(test=0.99), message="done\x00\udc80")
    study = ledger.study(STUDY.id)
    assert (study.status, study.lag, study.teacher) == ("finished", 2, TeacherInfo(test=0.99))
    assert study.message == "done\\x00\\udc80", "what no database can hold is kept as an escape"
    with pytest.raises(TypeError, match="seed, text"):
        ledger.update_study(STUDY.id, text="other", seed=1)
    with pytest.raises(RecordError, match="study 'no-such': not found"):
        ledger.update_study("no-such", lag=1)
    with pytest.raises(RecordError, match="study 'no-such': not found"):
        ledger.study("no-such")


def test_a_naive_time_is_refused(ledger: Ledger) -> None:
    with pytest.raises(Exception, match="naive datetime"):
        ledger.create_study(replace(STUDY, id="x-00000000", created=datetime(2026, 1, 1)))


def test_a_reference_is_an_id_a_unique_prefix_or_latest(ledger: Ledger) -> None:
    later = STUDY.created + timedelta(days=1)
    ledger.create_study(replace(STUDY, id="digits-00000011", created=later + timedelta(days=1)))
    ledger.create_study(replace(STUDY, id="digits-0000001", created=later))
    assert ledger.resolve("latest") == "digits-00000011"
    assert ledger.resolve("digits-00000011") == "digits-00000011"
    assert ledger.resolve("digits-0000001") == "digits-0000001", "a whole ID wins over the longer ones"
    assert ledger.resolve("digits-00000001") == "digits-00000001"
    ledger.add_trial(trial(study_id="digits-0000001"))
    with pytest.raises(RecordError) as caught:
        ledger.resolve("dig")
    days = [f"{STUDY.created + timedelta(days=day):%Y-%m-%d %H:%M} UTC" for day in range(3)]
    assert str(caught.value) == (
        f"study 'dig': 3 IDs begin so: digits-00000001 (running, 0 trials, {days[0]}), "
        f"digits-0000001 (interrupted, 1 trial, {days[1]}), digits-00000011 (interrupted, 0 trials, {days[2]}); "
        "write more of the ID"
    )
    with pytest.raises(RecordError, match=r"study 'DIGITS': no ID in .* starts with this; see 'kdstudy list'"):
        ledger.resolve("DIGITS")
    with pytest.raises(RecordError, match="no ID"):
        ledger.resolve("d%")


def test_many_candidates_are_counted_not_listed(ledger: Ledger) -> None:
    for number in range(9):
        ledger.create_study(replace(STUDY, id=f"a-{number:08x}"))
    with pytest.raises(RecordError) as caught:
        ledger.resolve("a-")
    assert "9 IDs begin so" in str(caught.value)
    assert "begin so: 4 older ones and a-00000004 (" in str(caught.value)
    assert "a-00000008 (" in str(caught.value), "the newest"
    assert "\n" not in str(caught.value)


def test_ids_are_fresh_and_end_in_eight_hex_digits() -> None:
    ids = {new_study_id("my-study") for _ in range(50)}
    assert len(ids) == 50
    assert all(one.startswith("my-study-") and len(bytes.fromhex(one[-8:])) == 4 for one in ids)


# Trials


def test_a_trial_comes_back_as_it_was_proposed(ledger: Ledger) -> None:
    proposed = trial(3, phase="confirm", exploratory=True)
    ledger.add_trial(proposed)
    with Ledger.open(f"sqlite:///{ledger.place}") as again:
        assert again.trial(STUDY.id, 3) == proposed
    assert proposed.arm == "attention/layerwise"


@pytest.mark.parametrize(
    "stage",
    [
        Queued(),
        Queued(START, 3),
        Running(START, 3),
        Ended(TrialResult("completed", 8, 0.9, 0.8, "ab" * 32, None, 12.5, {"threads": 1}), START, START + HOUR),
        Ended(TrialResult("failed", 0, error="Traceback"), START, START + HOUR),
    ],
    ids=lambda stage: type(stage).__name__,
)
def test_a_trial_of_any_stage_is_kept_whole(ledger: Ledger, stage: Queued | Running | Ended) -> None:
    whole = trial(stage=stage, published=Publication("run", 2, "running"))
    ledger.add_trial(whole)
    assert ledger.trial(STUDY.id, 0) == whole
    assert list(whole.to_row()) == TRIALS.columns.keys()


def test_what_has_not_happened_yet_is_unknown() -> None:
    for early in (trial(), trial(stage=Running(START, 3))):
        assert (early.result, early.finished, early.val, early.test, early.weights_sha256, early.error) == (None,) * 6
        assert (early.seconds, early.numerics, early.done) == (0.0, {}, False)
    assert (early.state, early.started, early.epochs) == ("running", START, 3)
    over = ended("stopped", 5, finished=START + HOUR)
    assert (trial(stage=over).state, trial(stage=over).epochs, over.wall) == ("stopped", 5, 3600.0)


@pytest.mark.parametrize(("state", "lacks"), [("running", "started"), ("failed", "started"), ("completed", "finished")])
def test_a_row_whose_columns_contradict_each_other_is_damaged(state: str, lacks: str) -> None:
    row = {**trial(7).to_row(), "state": state, "started": START, "finished": START, lacks: None}
    with pytest.raises(RecordError) as caught:
        TrialRecord.from_row(row)
    assert str(caught.value) == (
        f"study '{STUDY.id}': trial 7: the record is damaged ({lacks}: a {state} trial has one); restore a copy"
    )


def test_a_column_of_another_type_is_damaged() -> None:
    with pytest.raises(RecordError, match=r"trial 7: the record is damaged \(index: input should be a valid integer"):
        TrialRecord.from_row({**trial(7).to_row(), "index": "0"})


def test_adding_a_trial_again_changes_nothing_and_another_in_its_place_is_refused(ledger: Ledger) -> None:
    ledger.add_trial(trial(0, values={"a": (1, 2)}))
    ledger.start_trial(STUDY.id, 0)
    ledger.add_trial(trial(0, values={"a": [1, 2]}, created=datetime.now(UTC)))
    assert ledger.trial(STUDY.id, 0).state == "running"
    with pytest.raises(RecordError, match="trial 0 exists already, with other values or seeds"):
        ledger.add_trial(trial(0, values={"a": [1, 3]}))
    with pytest.raises(RecordError, match="the place of another in its arm"):
        ledger.add_trials([trial(1), trial(2, index=0)])
    assert [one.number for one in ledger.trials(STUDY.id)] == [0], "all or none"
    with pytest.raises(RecordError, match="no such study"):
        ledger.add_trial(trial(0, study_id="nobody"))


def test_trials_come_in_order_and_by_phase(ledger: Ledger) -> None:
    ledger.add_trials([trial(2, phase="confirm"), trial(1, arm_id=ArmId("attention", "constant")), trial(0)])
    assert [one.number for one in ledger.trials(STUDY.id)] == [0, 1, 2]
    assert [one.number for one in ledger.trials(STUDY.id, "search")] == [0, 1]
    assert [one.number for one in ledger.trials(STUDY.id, "confirm")] == [2]
    assert ledger.arms(STUDY.id) == (("attention", "layerwise"), ("attention", "constant"))
    assert ledger.trials("nobody") == ()
    with pytest.raises(RecordError, match="it has no trial 9"):
        ledger.trial(STUDY.id, 9)


def test_the_life_of_a_trial(ledger: Ledger) -> None:
    ledger.add_trial(trial())
    assert ledger.start_trial(STUDY.id, 0)
    begun = ledger.trial(STUDY.id, 0)
    assert begun.state == "running"
    assert begun.started is not None
    ledger.record_epoch(STUDY.id, 0, epoch(1))
    assert ledger.requeue(STUDY.id) == (0,)
    assert ledger.trial(STUDY.id, 0).stage == Queued(begun.started, 1)
    assert ledger.start_trial(STUDY.id, 0)
    assert ledger.trial(STUDY.id, 0).stage == Running(begun.started, 1), "since it first ran"
    result = TrialResult("completed", 8, 0.9, 0.8, "ab" * 32, None, 12.5, {"threads": 1})
    assert ledger.finish_trial(STUDY.id, 0, result)
    done = ledger.trial(STUDY.id, 0)
    assert (done.state, done.epochs, done.val, done.test, done.seconds) == ("completed", 8, 0.9, 0.8, 12.5)
    assert (done.weights_sha256, done.numerics, done.done) == ("ab" * 32, {"threads": 1}, True)
    assert done.finished is not None
    assert done.finished >= begun.started


@pytest.mark.parametrize("state", FINISHED_STATES)
def test_the_first_result_stands(ledger: Ledger, state: str) -> None:
    ledger.add_trial(trial())
    assert ledger.finish_trial(STUDY.id, 0, TrialResult(state, 2, 0.5, error="e" if state == "failed" else None))
    before = ledger.trial(STUDY.id, 0)
    assert not ledger.finish_trial(STUDY.id, 0, TrialResult("completed", 3, 0.9))
    assert not ledger.start_trial(STUDY.id, 0)
    assert ledger.requeue(STUDY.id) == ()
    assert ledger.requeue(STUDY.id, 0) == ()
    assert ledger.trial(STUDY.id, 0) == before


def test_only_running_trials_go_back_into_the_queue_and_one_may_go_alone(ledger: Ledger) -> None:
    ledger.add_trials([trial(number) for number in range(4)])
    for number in (0, 2, 3):
        ledger.start_trial(STUDY.id, number)
    assert ledger.requeue(STUDY.id, 2) == (2,)
    assert ledger.requeue(STUDY.id) == (0, 3)
    assert ledger.requeue(STUDY.id) == ()


def test_changes_of_trials_that_do_not_exist_are_refused(ledger: Ledger) -> None:
    for change in (
        lambda: ledger.start_trial(STUDY.id, 5),
        lambda: ledger.finish_trial(STUDY.id, 5, TrialResult("stopped", 1, 0.1)),
        lambda: ledger.record_epoch(STUDY.id, 5, epoch(1)),
        lambda: ledger.mark_published(STUDY.id, 5, Publication("r", 1, "running")),
    ):
        with pytest.raises(RecordError, match="it has no trial 5; see 'kdstudy show digits-00000001'"):
            change()


def test_what_is_not_a_number_is_never_stored(ledger: Ledger) -> None:
    nan = float("nan")
    ledger.add_trial(trial(values={"a": nan, "b": [1.0, float("inf")]}))
    ledger.record_epoch(STUDY.id, 0, replace(epoch(1, nan), loss=nan, terms={"t": -math.inf}))
    ledger.finish_trial(STUDY.id, 0, TrialResult("diverged", 1, nan, math.inf, seconds=nan))
    record, found = ledger.epochs(STUDY.id, 0)[0], ledger.trial(STUDY.id, 0)
    assert (record.val, record.loss, record.terms) == (None, None, {"t": None})
    assert (found.values, found.val, found.test, found.seconds) == (
        {"a": None, "b": [1.0, None]},
        None,
        None,
        0.0,
    )
    json.dumps([record.to_json(), found.to_json()], allow_nan=False)


def test_a_traceback_of_any_bytes_is_kept(ledger: Ledger) -> None:
    ledger.add_trial(trial())
    ledger.finish_trial(STUDY.id, 0, TrialResult("failed", 0, error="ValueError: caf\xe9 \x00 \udcff"))
    assert ledger.trial(STUDY.id, 0).error == "ValueError: caf\xe9 \\x00 \\udcff"


# Epochs


def test_an_epoch_is_the_same_however_often_it_is_recorded(ledger: Ledger) -> None:
    ledger.add_trial(trial())
    for number in (1, 2, 1, 3, 2, 3):
        ledger.record_epoch(STUDY.id, 0, epoch(number, 0.1 * number))
    ledger.record_epoch(STUDY.id, 0, epoch(2, 0.75))
    assert ledger.epochs(STUDY.id, 0) == (epoch(1, 0.1), epoch(2, 0.75), epoch(3, 0.1 * 3))
    assert ledger.trial(STUDY.id, 0).epochs == 3
    assert ledger.scores(STUDY.id) == {0: {1: 0.1, 2: 0.75, 3: 0.1 * 3}}


def test_after_the_end_only_a_gap_is_filled(ledger: Ledger) -> None:
    ledger.add_trial(trial())
    for number in (1, 3, 4):
        ledger.record_epoch(STUDY.id, 0, epoch(number))
    ledger.finish_trial(STUDY.id, 0, TrialResult("stopped", 3, 0.5))
    assert [one.epoch for one in ledger.epochs(STUDY.id, 0)] == [1, 3], "epoch 4 was an earlier attempt's"
    for number in (1, 2, 4):
        ledger.record_epoch(STUDY.id, 0, epoch(number, 0.625))
    assert [(one.epoch, one.val) for one in ledger.epochs(STUDY.id, 0)] == [(1, 0.5), (2, 0.625), (3, 0.5)]
    assert ledger.trial(STUDY.id, 0).epochs == 3


@pytest.mark.parametrize("state", ["diverged", "failed"])
def test_the_epoch_in_which_a_trial_broke_off_is_kept(ledger: Ledger, state: str) -> None:
    ledger.add_trial(trial())
    ledger.record_epoch(STUDY.id, 0, epoch(1))
    ledger.record_epoch(STUDY.id, 0, epoch(2, None))
    ledger.finish_trial(STUDY.id, 0, TrialResult(state, 0))
    assert [one.val for one in ledger.epochs(STUDY.id, 0)] == [0.5, None]
    assert ledger.trial(STUDY.id, 0).epochs == 2
    assert ledger.scores(STUDY.id) == {0: {1: 0.5}}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("epoch"), st.integers(1, 5)),
            st.tuples(st.just("start"), st.just(0)),
            st.tuples(st.just("requeue"), st.just(0)),
            st.tuples(st.sampled_from(FINISHED_STATES), st.integers(0, 5)),
        ),
        max_size=12,
    )
)
def test_no_order_of_messages_breaks_a_trial(tmp_path: Path, messages: list[tuple[str, int]]) -> None:
    study = replace(STUDY, id=new_study_id("x"))
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.create_study(study)
        ledger.add_trial(trial(study_id=study.id))
        first: TrialResult | None = None
        for kind, number in messages:
            if kind == "epoch":
                ledger.record_epoch(study.id, 0, epoch(number))
            elif kind == "start":
                assert ledger.start_trial(study.id, 0) == (first is None)
            elif kind == "requeue":
                ledger.requeue(study.id)
            else:
                result = TrialResult(kind, number, 0.5)
                assert ledger.finish_trial(study.id, 0, result) == (first is None)
                first = first or result
        found, epochs = ledger.trial(study.id, 0), [one.epoch for one in ledger.epochs(study.id, 0)]
    assert epochs == sorted(set(epochs))
    assert max(epochs, default=0) <= max(found.epochs, 5 if first else 0)
    assert (found.state in FINISHED_STATES) == (first is not None)
    if first is not None:
        assert (found.state, found.val) == (first.state, 0.5)
        if first.state in ("completed", "stopped"):
            assert found.epochs == first.epochs
            assert max(epochs, default=0) <= first.epochs


# The published view


def test_what_the_published_view_lacks(ledger: Ledger) -> None:
    ledger.add_trials([trial(0), trial(1)])
    assert ledger.unpublished(STUDY.id) == (0, 1)
    ledger.mark_published(STUDY.id, 0, Publication("run", 0, "queued"))
    assert ledger.unpublished(STUDY.id) == (1,)
    ledger.start_trial(STUDY.id, 0)
    assert ledger.unpublished(STUDY.id) == (0, 1), "its state changed"
    ledger.mark_published(STUDY.id, 0, Publication("run", 0, "running"))
    ledger.record_epoch(STUDY.id, 0, epoch(1))
    assert ledger.unpublished(STUDY.id) == (0, 1), "it has a new epoch"
    ledger.mark_published(STUDY.id, 0, Publication("run", 1, "running"))
    assert ledger.trial(STUDY.id, 0).published == Publication("run", 1, "running")
    ledger.mark_published(STUDY.id, 0, Publication())
    assert ledger.unpublished(STUDY.id) == (0, 1), "to be rebuilt"


# Listing


def test_a_summary_counts_all_trials_and_takes_the_best_completed_search_score(ledger: Ledger) -> None:
    ledger.add_trials([trial(number) for number in range(5)])
    ledger.add_trial(trial(5, phase="confirm", index=0))
    ends = [
        ("completed", 0.5),
        ("completed", 0.75),
        ("stopped", 0.875),
        ("diverged", None),
        None,
        ("completed", 1.0),
    ]
    for number, end in enumerate(ends):
        if end is not None:
            ledger.finish_trial(STUDY.id, number, TrialResult(end[0], 1, end[1]))
    ledger.create_study(replace(STUDY, id="empty-00000000", status="failed", created=STUDY.created + timedelta(days=1)))
    first, second = ledger.summaries()
    assert first.to_json() == {
        "study_id": STUDY.id,
        "name": "digits",
        "status": "running",
        "trials": 6,
        "created": STUDY.created.isoformat(timespec="seconds"),
        "best_val": 0.75,
        "title": None,
        "archived": False,
    }
    assert first.to_json()["created"].endswith("+00:00")
    assert (second.id, second.trials, second.best_val, second.status) == ("empty-00000000", 0, None, "failed")


@pytest.mark.slow
def test_ten_thousand_trials_are_listed_at_once(ledger: Ledger) -> None:
    config = {"text": "x" * 2000}
    for study in range(20):
        record = replace(STUDY, id=f"many-{study:08x}")
        ledger.create_study(record)
        ledger.add_trials(
            [trial(number, study_id=record.id, config=config, stage=ended(val=number / 1000)) for number in range(500)]
        )
    begun = time.perf_counter()
    summaries = ledger.summaries()
    assert time.perf_counter() - begun < 0.5
    assert sum(one.trials for one in summaries) == 10_000
    assert {one.best_val for one in summaries if one.trials} == {0.499}


# Many at once


def test_two_threads_share_a_ledger(ledger: Ledger) -> None:
    ledger.add_trials([trial(0), trial(1)])
    errors: list[BaseException] = []

    def drive(number: int) -> None:
        try:
            for step in range(1, 26):
                ledger.record_epoch(STUDY.id, number, epoch(step))
                ledger.mark_published(STUDY.id, number, Publication("r", step, "running"))
                ledger.trials(STUDY.id)
        except BaseException as error:  # noqa: BLE001 - a thread's error must reach the test
            errors.append(error)

    threads = [threading.Thread(target=drive, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert [len(ledger.epochs(STUDY.id, number)) for number in (0, 1)] == [25, 25]


def _finish_all(url: str, name: str, barrier: Any, wins: Any) -> None:
    """Race to finish every trial; run in a process of its own."""
    with Ledger(url) as ledger:
        barrier.wait(60)
        for number in range(30):
            ledger.record_epoch(STUDY.id, number, epoch(1))
            if ledger.finish_trial(STUDY.id, number, TrialResult("completed", 1, 0.5, error=name)):
                wins.put((number, name))


def test_of_two_processes_one_finishes_each_trial(ledger: Ledger) -> None:
    ledger.add_trials([trial(number) for number in range(30)])
    context = multiprocessing.get_context("spawn")
    barrier, wins = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=_finish_all, args=(f"sqlite:///{ledger.place}", name, barrier, wins))
        for name in ("one", "two")
    ]
    for process in processes:
        process.start()
    won = dict(wins.get(timeout=60) for _ in range(30))
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert wins.empty()
    assert {one.number: one.error for one in ledger.trials(STUDY.id)} == won
