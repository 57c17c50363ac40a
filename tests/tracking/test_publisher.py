from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kdstudy.ledger import Ledger, Publication, Queued, StudyRecord
from kdstudy.results import TrialResult
from kdstudy.tracking import Publisher, Tracker
from kdstudy.tracking.sync import sync_study
from tests.servers import default_uri
from tests.tracking.records import make_epoch, make_trial


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", create=True) as ledger:
        yield ledger


@pytest.fixture
def running(ledger: Ledger, tracker: Tracker, study: StudyRecord) -> StudyRecord:
    """A study with trial 7 running, its first epoch recorded."""
    tracking = tracker.open_study(study)
    ledger.create_study(dataclasses.replace(study, tracking=tracking))
    ledger.add_trial(make_trial(stage=Queued()))
    ledger.start_trial(study.id, 7)
    ledger.record_epoch(study.id, 7, make_epoch(1))
    return ledger.study(study.id)


@pytest.fixture
def client(store: Path) -> MlflowClient:
    return MlflowClient(default_uri(store))


def finish(ledger: Ledger, study: StudyRecord) -> None:
    ledger.record_epoch(study.id, 7, make_epoch(2))
    ledger.finish_trial(study.id, 7, TrialResult("completed", epochs=2, val=0.7, seconds=3.0))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for 20 s"
        time.sleep(0.01)


def steps(client: MlflowClient, run_id: str | None) -> list[int]:
    assert run_id is not None
    return sorted(point.step for point in client.get_metric_history(run_id, "val"))


def block(store: Path) -> None:
    """Take the database away, as a server that went down."""
    (store / "mlflow.db").rename(store / "away.db")
    (store / "mlflow.db").mkdir()


def unblock(store: Path) -> None:
    (store / "mlflow.db").rmdir()
    (store / "away.db").rename(store / "mlflow.db")


def test_a_notice_is_published_and_recorded(
    tracker: Tracker, ledger: Ledger, running: StudyRecord, client: MlflowClient
) -> None:
    publisher = Publisher(tracker, ledger, running.id, gather=0)
    publisher.notify(7)
    until(lambda: ledger.trial(running.id, 7).published.epochs == 1)
    finish(ledger, running)
    publisher.notify(7)
    assert publisher.close(20) == 0
    trial = ledger.trial(running.id, 7)
    assert (trial.published.epochs, trial.published.state) == (2, "completed")
    assert steps(client, trial.published.run_id) == [1, 2]
    assert client.get_run(trial.published.run_id).info.status == "FINISHED"


def test_trouble_is_spooled_said_once_and_made_up_for(
    tracker: Tracker, ledger: Ledger, running: StudyRecord, client: MlflowClient, store: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    publisher = Publisher(tracker, ledger, running.id, gather=0)
    until(lambda: publisher.pending() == 0)
    tracker.close()
    block(store)
    publisher.notify(7)
    until(lambda: publisher.trouble() is not None)
    assert publisher.pending() == 1
    publisher.notify(7)
    unblock(store)
    until(lambda: publisher.pending() == 0)  # by itself: the back-off ends
    assert publisher.trouble() is None
    assert publisher.close(20) == 0
    assert steps(client, ledger.trial(running.id, 7).published.run_id) == [1]
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in warnings] == ["kdstudy.tracking.publisher"]
    assert "training goes on, and the record is kept" in warnings[0].getMessage()


def test_what_is_pending_at_the_end_is_counted_and_published_by_the_next_process(
    tracker: Tracker, ledger: Ledger, running: StudyRecord, client: MlflowClient, store: Path
) -> None:
    publisher = Publisher(tracker, ledger, running.id, gather=0)
    until(lambda: publisher.pending() == 0)
    tracker.close()
    block(store)
    publisher.notify(7)
    started = time.monotonic()
    assert publisher.close(30) == 1
    assert time.monotonic() - started < 25, "close does not wait for the back-off"
    unblock(store)
    finish(ledger, running)
    successor = Publisher(Tracker(tracker.uri, store / "artifacts"), ledger, running.id, gather=0)
    successor.catch_up()
    assert successor.close(20) == 0
    trial = ledger.trial(running.id, 7)
    assert (trial.published.epochs, trial.published.state) == (2, "completed")
    assert steps(client, trial.published.run_id) == [1, 2]


def test_a_server_that_is_away_when_the_study_begins_gets_everything_later(
    tracker: Tracker, ledger: Ledger, running: StudyRecord, client: MlflowClient, store: Path
) -> None:
    tracker.close()
    block(store)
    publisher = Publisher(tracker, ledger, running.id, gather=0)
    publisher.notify(7)
    until(lambda: publisher.trouble() is not None)
    assert publisher.pending() == 2, "the study's own run, and the trial's"
    unblock(store)
    until(lambda: publisher.pending() == 0)
    assert publisher.close(20) == 0
    trial = ledger.trial(running.id, 7)
    assert steps(client, trial.published.run_id) == [1]
    parent = client.get_run(trial.published.run_id).data.tags["mlflow.parentRunId"]
    assert parent == ledger.study(running.id).tracking.run_id


def test_closing_waits_no_longer_than_asked(tracker: Tracker, ledger: Ledger, running: StudyRecord) -> None:
    publisher = Publisher(tracker, ledger, running.id, gather=30)
    publisher.notify(7)
    started = time.monotonic()
    publisher.close(0)
    assert time.monotonic() - started < 5
    assert publisher.close(20) == 0


def test_a_refused_trial_does_not_hold_up_the_others(
    tracker: Tracker, ledger: Ledger, running: StudyRecord, client: MlflowClient
) -> None:
    run_id, _ = tracker.publish_trial(running, ledger.trial(running.id, 7), [make_epoch(1)])
    ledger.mark_published(running.id, 7, Publication(run_id, 1, "running"))
    client.delete_run(run_id)
    finish(ledger, running)
    ledger.add_trial(make_trial(number=8, index=4, stage=Queued()))
    ledger.start_trial(running.id, 8)
    ledger.record_epoch(running.id, 8, make_epoch(1))
    publisher = Publisher(tracker, ledger, running.id, gather=0)
    publisher.notify(7)
    publisher.notify(8)
    assert publisher.close(20) == 1
    assert ledger.trial(running.id, 8).published.epochs == 1


def test_a_server_that_lost_everything_is_rebuilt_by_sync(
    tracker: Tracker, ledger: Ledger, running: StudyRecord, client: MlflowClient, store: Path
) -> None:
    finish(ledger, running)
    publisher = Publisher(tracker, ledger, running.id, gather=0)
    publisher.catch_up()
    assert publisher.close(20) == 0
    lost = ledger.trial(running.id, 7).published.run_id
    for run in client.search_runs([running.tracking.experiment_id]):
        client.delete_run(run.info.run_id)
    for _ in range(2):
        sync_study(ledger, running.id, Tracker(default_uri(store), store / "artifacts"))
    study, trial = ledger.study(running.id), ledger.trial(running.id, 7)
    runs = client.search_runs([study.tracking.experiment_id])
    assert {run.info.run_id for run in runs} == {study.tracking.run_id, trial.published.run_id}
    assert trial.published.run_id != lost
    assert client.get_run(trial.published.run_id).data.tags["mlflow.parentRunId"] == study.tracking.run_id
    assert steps(client, trial.published.run_id) == [1, 2]
