"""How much the driver does for a trial, counted: what it costs must not grow with the study, nor wait for MLflow."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

from kdstudy.cluster import EpochFinished, RayCluster, TrialEnded, TrialStarted
from kdstudy.ledger import Ledger, StudyRecord
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.runner.execution import Execution
from kdstudy.runner.open_study import OpenStudy
from kdstudy.search import CachePlan
from kdstudy.storage import Store
from kdstudy.study import parse_study
from kdstudy.tracking import Publisher, Tracker
from tests.servers import default_uri

EPOCHS = 5
TEXT = f"""
name: counted
seed: 0
data: {{name: synthetic}}
teacher: {{model: resnet8, epochs: 1}}
student: {{model: resnet8}}
train: {{epochs: {EPOCHS}, batch_size: 32, base_lr: {{log: [0.01, 1.0]}}}}
arms: {{transfers: [none], policies: [constant]}}
search: {{trials_per_arm: 40, sampler: random}}
confirm: {{seeds: 0}}
"""
ID = "counted-00000000"


class Driver:
    """All of a driver but Ray: trials start, report and end as they are told to."""

    def __init__(self, folder: Path, tracker: Tracker, *, capacity: int = 2) -> None:
        study = parse_study(TEXT, "counted.yaml")
        self.ledger = Ledger.open(f"sqlite:///{folder / 'ledger.db'}", create=True)
        data = {"name": "synthetic", "fingerprint": "f" * 64, "train": 8}
        self.ledger.create_study(StudyRecord(ID, study.name, study.seed, TEXT, dataset=data))
        self.publisher = Publisher(tracker, self.ledger, ID, gather=0)
        store = Store.at(str(folder))
        self.execution = Execution(
            OpenStudy(study, ID, self.ledger, store, seeds=0, searches=1),
            RayCluster(),  # which nobody asks
            self.publisher,
            teacher=store.teachers,
            sharing=CachePlan(study, [None]),
            capacity=capacity,
        )
        self.dispatcher = self.execution.dispatcher

    def hand_out(self) -> int:
        """Return the number of a trial that has started."""
        deadline = time.monotonic() + 60
        while not (pack := self.dispatcher.next_pack()):
            assert time.monotonic() < deadline, "the ledger does not catch up"
        (trial,) = pack
        self.dispatcher.notify(TrialStarted(trial.number))
        return trial.number

    def report(self, number: int, epoch: int) -> None:
        record = EpochRecord(epoch, 1.0, {}, epoch / 10, 1.0, 0.1, {})
        self.dispatcher.notify(EpochFinished(number, record))

    def end(self, number: int) -> None:
        self.dispatcher.notify(TrialEnded(number, TrialResult("completed", epochs=EPOCHS, val=0.5)))

    def run(self, number: int) -> None:
        for epoch in range(1, EPOCHS + 1):
            self.report(number, epoch)
        self.end(number)

    def written(self) -> None:
        """Wait until the ledger has everything."""
        self.dispatcher.settle()

    def settle(self) -> None:
        """Wait until ledger and MLflow have everything."""
        self.written()
        deadline = time.monotonic() + 60
        while self.publisher.pending():
            assert time.monotonic() < deadline, self.publisher.trouble()
            time.sleep(0.005)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    tracker = Tracker(default_uri(tmp_path), tmp_path / "artifacts")
    driver = Driver(tmp_path, tracker)
    driver.settle()  # the study's own run is open
    yield driver
    driver.execution.close()
    assert driver.publisher.close(60) == 0
    tracker.close()
    driver.ledger.close()


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count what reaches MLflow, and the ledger's transactions that write, and rows that are read from it."""
    counts: Counter[str] = Counter()

    def spy(name: str) -> Callable[..., object]:
        real = getattr(MlflowClient, name)

        def call(*args: object, **options: object) -> object:
            counts["mlflow"] += 1
            counts[name] += 1
            return real(*args, **options)

        return call

    def note(connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
        if "kdstudy_" in statement and statement.lstrip().startswith("SELECT"):
            counts["whole lists"] += "kdstudy_trials" in statement and "number = " not in statement

    def begun(connection: Connection) -> None:
        counts["writes"] += bool(connection.get_execution_options().get("kdstudy_write"))

    with monkeypatch.context() as patch:
        for name in (
            "log_batch", "log_text", "log_inputs", "create_run", "update_run", "set_terminated", "search_runs",
            "get_metric_history", "set_tag", "get_run", "get_experiment_by_name",
        ):  # fmt: skip
            patch.setattr(MlflowClient, name, spy(name))
        event.listen(Engine, "before_cursor_execute", note)
        event.listen(Engine, "begin", begun)
        try:
            yield counts
        finally:
            event.remove(Engine, "before_cursor_execute", note)
            event.remove(Engine, "begin", begun)


def test_an_epoch_is_one_write_and_one_request(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    number = driver.hand_out()
    driver.settle()
    with counted(monkeypatch) as counts:
        driver.report(number, 1)
        driver.settle()
    assert (counts["mlflow"], counts["log_batch"]) == (1, 1)
    assert counts["writes"] == 2, "the epoch itself, and that MLflow has it"
    driver.report(number, 2)
    driver.end(number)


def test_a_trial_costs_the_same_however_many_came_before(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def cost() -> Counter[str]:
        with counted(monkeypatch) as counts:
            number = driver.hand_out()
            driver.settle()
            for epoch in range(1, EPOCHS + 1):
                driver.report(number, epoch)
                driver.settle()
            driver.end(number)
            driver.settle()
        return counts

    first = cost()
    # Proposed, started, each epoch, ended; and after the start, each epoch and the end a note of what MLflow has.
    assert first["writes"] == (1 + 1 + EPOCHS + 1) + (1 + EPOCHS + 1)
    # A run found missing, created, described twice, its data, its history, its state twice; the epochs; the end twice.
    assert first["mlflow"] == 8 + EPOCHS + 2, first
    for _ in range(5):
        driver.run(driver.hand_out())
        driver.settle()
    assert cost() == first
    assert first["whole lists"] == 0, "the list of all trials is never read for one of them"


def test_a_server_that_never_answers_holds_up_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        tracker = Tracker(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path, check=False)
        driver = Driver(tmp_path, tracker)
        time.sleep(0.2)  # the publisher is in its first request
        began = time.monotonic()
        for _ in range(3):
            driver.run(driver.hand_out())
        driver.execution.close()
        assert time.monotonic() - began < 60, "a single request waits for minutes"
        trials = driver.ledger.trials(ID)
        assert [trial.state for trial in trials] == ["completed"] * 3
        assert sum(len(driver.ledger.epochs(ID, trial.number)) for trial in trials) == 3 * EPOCHS
        assert driver.publisher.pending() == 4
        began = time.monotonic()
        assert driver.publisher.close(0.5) == 4, "all of it is still to come, and the ledger says so"
        assert time.monotonic() - began < 5
        assert len(driver.ledger.unpublished(ID)) == 3
        driver.ledger.close()


def test_one_trial_waits_ahead_once_every_process_has_one(driver: Driver) -> None:
    first = driver.hand_out()
    second = driver.hand_out()  # there is room for two: their processes start side by side
    (ahead,) = driver.dispatcher.next_pack()
    assert driver.dispatcher.next_pack() == [], "two run and one waits"
    driver.run(first)
    driver.run(second)
    driver.written()
    (later,) = driver.dispatcher.next_pack()  # one waits, for two processes that come free
    driver.dispatcher.give_back(ahead.number)
    (again,) = driver.dispatcher.next_pack()
    assert again.number == ahead.number, "handed out once more, before any other"
    for trial in (again, later):
        driver.dispatcher.notify(TrialStarted(trial.number))
        driver.run(trial.number)
