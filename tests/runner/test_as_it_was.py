"""A driver that cannot begin, or whose last steps fail; studies that are mended, or deleted.

One study of seconds is run for all, in a folder that somebody removes meanwhile; each test has a copy of its store.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kdstudy.cli import run
from kdstudy.cluster import EpochFinished
from kdstudy.errors import ClusterError, DataError, KdstudyError, ModelError, PluginError, RecordError, StoreError
from kdstudy.ledger import LeaseOwner, Ledger, StudyRecord, WarmStart
from kdstudy.runner import confirm_study, delete_study, outcome, resume_study, run_study
from kdstudy.storage import Folder, Store
from kdstudy.study import ResourcesConfig, parse_study
from tests.runner.in_process import InProcess
from tests.runner.test_whole_studies import at

TEXT = """
name: brief
seed: 3
data: {name: synthetic, val_fraction: 0.25}
teacher: {model: resnet8, epochs: 1, allow_weak: true}
student: {model: resnet8}
train: {epochs: 1, batch_size: 32, base_lr: 0.05}
arms: {transfers: [none], policies: [constant, decay]}
search: {trials_per_arm: 1, sampler: random}
confirm: {seeds: 1}
cache: {mode: "off"}
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a finished study, run in a job's folder that vanishes when the first trial begins."""
    folder = tmp_path_factory.mktemp("brief")
    job, store, before = folder / "job", Store.at(str(folder / "store")), Path.cwd()
    job.mkdir()
    try:
        os.chdir(job)
        cluster = InProcess(lambda _event: shutil.rmtree(job, ignore_errors=True))
        result = run_study(parse_study(TEXT, "study.yaml"), store, cluster=cluster, workplace=store.local)
        assert (Path.cwd(), job.exists()) == (store.local, False)
    finally:
        os.chdir(before)
    assert (result.study.status, result.unpublished) == ("finished", 0)
    return store.local


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Store:
    shutil.copytree(original, tmp_path / "store")
    return Store.at(str(tmp_path / "store"))


@pytest.fixture
def ledger(store: Store) -> Iterator[Ledger]:
    with Ledger.open(store.ledger_url) as ledger:
        yield ledger


def record(ledger: Ledger) -> StudyRecord:
    return ledger.study(ledger.resolve("latest"))


class CannotBegin(InProcess):
    """Fails in one of the steps before the first trial.

    Args:
        step: Which.
        error: With what.
        look: Called before.
    """

    def __init__(self, step: str, error: BaseException, look: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self._step, self._error, self._look = step, error, look

    def _fail(self, step: str) -> None:
        if step == self._step:
            self._look()
            raise self._error

    def connected(
        self, address: str | None, folder: Path, lost: Callable[[Exception], None]
    ) -> AbstractContextManager[None]:
        self._fail("connected")
        return super().connected(address, folder, lost)

    def room(self, address: str | None, resources: ResourcesConfig, store: Folder, identity: str) -> int:
        self._fail("room")
        return super().room(address, resources, store, identity)

    def prepare_teacher(self, *asked: Any) -> dict[str, Any]:
        if self._step == "prepare":
            self._look()
            return {"error": str(self._error), "data": isinstance(self._error, DataError), "cause": None}
        return super().prepare_teacher(*asked)


FAULTS = [
    ("connected", ClusterError("ray: cannot start")),
    ("room", ClusterError("resources: no node has room")),
    ("prepare", DataError("data: no such folder")),
    ("prepare", ModelError("layers: no such layer")),
    ("room", KeyboardInterrupt()),
]


@pytest.mark.parametrize(("step", "error"), FAULTS)
@pytest.mark.parametrize("asked", [{"seeds": 9}, {"searches": 2}])
def test_what_cannot_begin_leaves_a_finished_study_finished_and_books_nothing(
    store: Store, ledger: Ledger, step: str, error: BaseException, asked: dict[str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO, "kdstudy")
    before, trials = record(ledger), ledger.trials(record(ledger).id)
    with pytest.raises(type(error)):
        confirm_study("latest", store, cluster=CannotBegin(step, error), **asked)
    now = record(ledger)
    assert replace(now, teacher=before.teacher) == before
    assert (now.status, now.seeds, now.searches, ledger.trials(now.id)) == ("finished", None, None, trials)
    assert "as it was: nothing was begun" in caplog.messages[-1]
    ledger.acquire_lease(now.id, LeaseOwner.here())


def test_seeds_count_from_the_call_that_could_begin(store: Store, ledger: Ledger) -> None:
    with pytest.raises(DataError):
        confirm_study("latest", store, seeds=1, cluster=CannotBegin("prepare", DataError("data: gone")))
    result = confirm_study("latest", store, seeds=1, cluster=InProcess())
    assert record(ledger).seeds == 2
    assert sorted({trial.index for trial in result.trials if trial.phase == "confirm"}) == [0, 1]


@pytest.mark.parametrize("status", ["failed", "interrupted", "running"])
def test_what_cannot_begin_leaves_an_unfinished_study_as_it_was(store: Store, ledger: Ledger, status: str) -> None:
    study_id, seen = record(ledger).id, []
    ledger.update_study(study_id, status=status, message="earlier")
    readable = {"running": "interrupted"}.get(status, status)  # its driver died
    cluster = CannotBegin("room", ClusterError("ray: later"), lambda: seen.append(record(ledger).status))
    with pytest.raises(ClusterError):
        resume_study("latest", store, cluster=cluster)
    assert seen == ["running"], "while somebody drives it"
    assert record(ledger).status == readable
    assert record(ledger).message == ("earlier" if status == "failed" else "ray: later")


def test_an_address_at_which_nothing_listens_books_no_search(store: Store, ledger: Ledger) -> None:
    before = record(ledger)
    with pytest.raises(ClusterError, match="nothing listens"):
        confirm_study("latest", store, searches=2, address="127.0.0.1:1")
    assert record(ledger) == before


@pytest.mark.parametrize(
    ("error", "advised"),
    [
        (ModelError("layers: no layer 'midd'"), False),
        (PluginError("preparing the study failed"), True),
        (DataError("data: gone"), True),
        (ClusterError("ray: lost"), True),
        (KeyboardInterrupt(), True),
    ],
)
def test_resume_is_advised_where_it_can_help(
    store: Store, ledger: Ledger, error: BaseException, advised: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kdstudy")
    with pytest.raises(type(error)):
        run_study(parse_study(TEXT, "brief.yaml"), store, cluster=InProcess(at(0, EpochFinished, error)))
    study_id = record(ledger).id
    (last,) = [line for line in caplog.messages if line.startswith(f"study {study_id} is ")]
    assert (f"`kdstudy resume {study_id}`" in last) == advised
    if isinstance(error, KdstudyError) and not isinstance(error, ClusterError):
        assert "run" in last
        assert f"`kdstudy delete {study_id}`" in last


def test_a_study_file_that_was_mended_is_run_anew_with_the_teacher_that_was_trained(
    tmp_path: Path, original: Path
) -> None:
    store = Store.at(str(tmp_path / "store"))
    store.create()
    shutil.copy(original / "mlflow.db", store.local)  # it takes long to be made
    file = tmp_path / "brief.yaml"
    wrong = TEXT.replace("train:", "layers: [[layer1, layer1]]\ntrain:")
    file.write_text(wrong)
    broken = InProcess(at(0, EpochFinished, ModelError("odd")))
    with pytest.raises(ModelError):
        run_study(parse_study(wrong, str(file)), store, cluster=broken, file=file)
    teachers = {path: path.stat().st_mtime_ns for path in (store.local / "teachers").rglob("*") if path.is_file()}
    with pytest.raises(ModelError):  # as long as the file is what it was, one may try: a plug-in may have been mended
        resume_study("latest", store, cluster=InProcess(at(0, EpochFinished, ModelError("odd"))))
    file.write_text(TEXT)
    with pytest.raises(RecordError) as caught:
        resume_study("latest", store, cluster=InProcess())
    message = str(caught.value)
    assert "(- 'layers: [[layer1, layer1]]')" in message
    assert f"`kdstudy run {file}`" in message
    assert "\n" not in message
    run_study(parse_study(TEXT, str(file)), store, cluster=InProcess(), file=file)
    after = {path: path.stat().st_mtime_ns for path in (store.local / "teachers").rglob("*") if path.is_file()}
    assert after == teachers, "one teacher, trained once"
    file.unlink()
    with pytest.raises(ModelError):
        resume_study(first_of(store), store, cluster=InProcess(at(0, EpochFinished, ModelError("odd"))))


def first_of(store: Store) -> str:
    with Ledger.open(store.ledger_url) as ledger:
        return ledger.summaries()[0].id


def test_a_database_that_cannot_be_used_is_told_before_there_is_a_study(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path / "store"))
    store.create()
    (store.local / "mlflow.db").write_bytes(b"no database at all, but long enough to be looked at" * 20)
    with pytest.raises(StoreError, match=r"tracking: .* is not a usable database"):
        run_study(parse_study(TEXT, "brief.yaml"), store, cluster=InProcess())
    with Ledger.open(store.ledger_url) as ledger:
        assert ledger.summaries() == ()


def in_mlflow(store: Store, name: str) -> Any:
    client = MlflowClient(store.tracking_uri, store.tracking_uri)
    experiment = client.get_experiment_by_name("brief")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.`kdstudy.kind` = 'study'")
    return {
        "files": lambda: {found.path for found in client.list_artifacts(run.info.run_id)},
        "status": lambda: run.info.status,
        "models": lambda: client.search_logged_models([experiment.experiment_id]),
    }[name]()


def no_page(*_arguments: object) -> None:
    raise TypeError("'Choice' object has no attribute 'name'")


@pytest.mark.parametrize("broken", ["write_report", "to_summary", "student"])
def test_no_closing_step_keeps_another_from_being_done(
    store: Store, ledger: Ledger, broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    study_id = record(ledger).id
    ledger.update_study(study_id, tracking=replace(record(ledger).tracking, complete=None))
    client = MlflowClient(store.tracking_uri, store.tracking_uri)
    shutil.rmtree(store.artifacts)
    for model in in_mlflow(store, "models"):
        client.delete_logged_model(model.model_id)
    caplog.set_level(logging.DEBUG, "kdstudy")
    with monkeypatch.context() as patch:
        if broken == "student":
            (store.local / "studies").rename(store.local / "aside")
        else:
            patch.setattr(outcome, broken, no_page)
        result = resume_study("latest", store)
    assert (result.study.status, result.unpublished, record(ledger).tracking.complete) == ("finished", 1, None)
    missing = {"write_report": set(), "to_summary": {"comparison.md"}, "student": set()}[broken]
    whole = {"comparison.json", "comparison.md", "report.html", "environment.json", "study.yaml"}
    assert whole - in_mlflow(store, "files") <= missing | {"git.diff"}
    assert in_mlflow(store, "status") == "FINISHED"
    assert len(in_mlflow(store, "models")) == (broken != "student")
    if broken != "student":
        (line,) = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
        assert "TypeError: 'Choice' object has no attribute 'name'" in line
        assert "\n" not in line
        assert any(each.exc_info for each in caplog.records)
        assert resume_study("latest", store).unpublished == 0
        assert record(ledger).tracking.complete


def rows_of(store: Store, study_id: str) -> int:
    found = 0
    with contextlib.closing(sqlite3.connect(store.local / "ledger.db")) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
            for column in columns & {"study_id", "id"}:
                query = f"SELECT count(*) FROM {table} WHERE {column} = ?"
                found += database.execute(query, (study_id,)).fetchone()[0]
    return found


def test_a_deleted_study_is_gone_from_record_mlflow_and_store(
    store: Store, ledger: Ledger, original: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study_id = record(ledger).id
    other = StudyRecord("other-00000001", "other", 1, "name: other")
    ledger.create_study(other)
    aside = ledger.study(other.id)
    before = {path.name for path in (store.local / "teachers").rglob("*")}
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run(["delete", study_id, "--store", str(store.local)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.endswith("nothing removed\n") and f"remove {study_id} (finished, 4 trials)" in told.err
    assert rows_of(store, study_id) > 4
    assert run(["delete", study_id, "--yes", "--store", str(store.local)]) == 0
    assert capsys.readouterr().out == f"{study_id}: removed, with 4 trials\n"
    assert rows_of(store, study_id) == 0
    assert ledger.study(other.id) == aside, "another study is as it was"
    client = MlflowClient(store.tracking_uri, store.tracking_uri)
    experiment = client.get_experiment_by_name("brief")
    assert experiment is not None
    assert client.search_runs([experiment.experiment_id]) == []
    assert client.search_logged_models([experiment.experiment_id]) == []
    assert client.search_registered_models() == []
    assert [path for path in store.artifacts.rglob("*") if path.is_file()] == []
    assert not (store.local / "studies" / study_id).exists()
    assert {path.name for path in (store.local / "teachers").rglob("*")} == before
    assert (original / "studies" / study_id).exists(), "nothing outside this store"
    assert run(["delete", study_id, "--yes", "--store", str(store.local)]) == 1


def test_a_study_that_runs_or_is_learnt_from_is_not_deleted(store: Store, ledger: Ledger) -> None:
    study_id, owner = record(ledger).id, LeaseOwner.here()
    ledger.acquire_lease(study_id, owner)
    with Ledger.open(store.ledger_url) as another, pytest.raises(StoreError, match="is running it"):
        delete_study(another, study_id, store)
    ledger.release_lease(study_id, owner)
    learner = StudyRecord("other-00000001", "other", 1, "name: other")
    ledger.create_study(learner, warm=WarmStart(study_id, {}))
    with pytest.raises(RecordError, match=r"other-00000001 learns from it \(--warm-start\); delete that one first"):
        delete_study(ledger, study_id, store)
    assert rows_of(store, study_id) > 4
    delete_study(ledger, learner.id, store)
    delete_study(ledger, study_id, store)
    assert ledger.summaries() == ()


def test_nothing_outside_the_store_is_removed_whatever_the_database_says(
    store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "mine" / "artifacts").mkdir(parents=True)
    (tmp_path / "mine" / "photo").write_text("kept")
    with contextlib.closing(sqlite3.connect(store.local / "mlflow.db")) as database, database:
        database.execute("UPDATE runs SET artifact_uri = ?", ((tmp_path / "mine" / "artifacts").as_uri(),))
        up = f"{store.artifacts.as_uri()}/brief/../../../mine/artifacts"
        database.execute("UPDATE runs SET artifact_uri = ? WHERE rowid = 1", (up,))
    delete_study(ledger, record(ledger).id, store)
    assert (tmp_path / "mine" / "photo").exists()
