"""A driver's whole work, from study file to result, on a cluster that is this process: all of it real but Ray."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kdstudy.analysis import reproduce_trial
from kdstudy.cli import run as command
from kdstudy.cli.schemas import schema
from kdstudy.cluster import EpochFinished, TrialEnded, TrialEvent, TrialStarted
from kdstudy.data.load import _decoded, _load
from kdstudy.errors import ClusterError, DataError, ModelError, StoreError
from kdstudy.ledger import LeaseOwner, Ledger, TrialRecord
from kdstudy.plugins import allow_plugins
from kdstudy.runner import confirm_study, resume_study, run_study
from kdstudy.storage import Store
from kdstudy.study import Study, load_study, parse_study
from tests.begun import PLUGIN, weights_file
from tests.data.layouts import make_folders
from tests.runner.in_process import InProcess

TEXT = """
name: whole
seed: 3
data: {name: synthetic, val_fraction: 0.25}
teacher: {model: resnet8, epochs: 1}
student: {model: resnet8}
train: {epochs: 2, batch_size: 32, base_lr: {log: [0.01, 0.1]}}
arms: {transfers: [attention], policies: [constant, {layerwise: {interval: 1}}]}
search: {trials_per_arm: 2, sampler: random}
confirm: {seeds: 1}
cache: {mode: "off"}
"""
BEGUN = """
name: begun
data: {{name: synthetic, val_fraction: 0.25}}
teacher: {{model: {{"{plugin}": {{weights: {file}}}}}, head_epochs: 1, allow_weak: true}}
student: {{model: {{"{plugin}": {{weights: {file}}}}}}}
train: {{epochs: 1, batch_size: 64, base_lr: 0.05}}
arms: {{transfers: [kd], policies: [constant]}}
search: {{trials_per_arm: 1, sampler: random}}
confirm: {{seeds: 0}}
"""
# What ray, torch and mlflow themselves set when they are imported.
THEIRS = {"RAY_CLIENT_MODE", "TORCHINDUCTOR_CACHE_DIR", "_MLFLOW_TELEMETRY_SESSION_ID"}


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"  # one for all: it takes long to be made


@pytest.fixture
def store(tmp_path: Path, tracking: str) -> Store:
    return Store.at(str(tmp_path / "store"), tracking_uri=tracking)


def study() -> Study:
    return parse_study(TEXT, "whole.yaml")


def trials(store: Store) -> tuple[TrialRecord, ...]:
    with Ledger.open(store.ledger_url) as ledger:
        return ledger.trials(ledger.resolve("latest"))


def digits(store: Store) -> list[tuple[Any, ...]]:
    return [(t.number, t.arm, t.phase, t.state, t.values, t.val, t.test, t.weights_sha256) for t in trials(store)]


def at(number: int, kind: type, error: BaseException) -> Callable[[TrialEvent], None]:
    """Raise at the first event of a kind of a trial."""

    def before(event: TrialEvent) -> None:
        if isinstance(event, kind) and event.number == number:
            raise error

    return before


@pytest.mark.slow
def test_a_study_runs_to_its_end_wherever_it_was_interrupted(
    store: Store, tmp_path: Path, tracking: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "kdstudy")
    before = dict(os.environ)
    result = run_study(study(), store, cluster=InProcess())
    changed = {name for name in {*os.environ, *before} if os.environ.get(name) != before.get(name)}
    assert changed - THEIRS == set(), "what was set for a library does not outlive the call"
    assert (result.study.status, result.unpublished) == ("finished", 0)
    assert result.counts == {"completed": 6, "stopped": 0, "diverged": 0, "failed": 0}
    assert [trial.state for trial in trials(store)] == ["completed"] * 6
    assert 0 < (result.study.teacher.test or 0) <= 1
    study_id = result.study.id
    assert (Path(str(store.study(study_id))) / "report.html").is_file()
    for number in range(6):
        assert store.trial(study_id, number).files() == ["student/student.json", "student/student.safetensors"]
    ends = [line.partition(":")[0] for line in caplog.messages if line.startswith("[")]
    assert ends[0] == "[1/6] search attention/constant trial 0"
    assert ends[-1] == "[6/6] confirm attention/layerwise seed 0"
    assert caplog.messages[0] == f"study {study_id}"
    assert caplog.messages[1].startswith("ray is up with room for 1 trial at once")
    assert capsys.readouterr() == ("", ""), "a library prints nothing"

    other = Store.at(str(tmp_path / "other"), tracking_uri=tracking)
    with pytest.raises(KeyboardInterrupt):
        run_study(study(), other, cluster=InProcess(at(1, EpochFinished, KeyboardInterrupt())))
    assert [trial.state for trial in trials(other)] == ["completed", "queued"]
    with pytest.raises(ClusterError):
        resume_study("latest", other, cluster=InProcess(at(4, TrialEnded, ClusterError("ray: lost"))))
    assert trials(other)[4].state == "queued"
    resumed = resume_study("latest", other, cluster=InProcess())
    assert resumed.study.message is None
    assert digits(other) == digits(store)

    later = confirm_study("latest", other, seeds=1, cluster=InProcess())
    assert later.counts["completed"] == 8
    assert [trial.exploratory for trial in trials(other)] == [False] * 6 + [True] * 2


PICTURES = """
name: pictures
seed: 1
data: {{name: imagefolder, root: {root}, val_fraction: 0.25, options: {{size: 8, workers: 1}}}}
teacher: {{model: resnet8, epochs: 1, allow_weak: true}}
student: {{model: resnet8}}
train: {{epochs: 1, batch_size: 16, base_lr: 0.01}}
arms: {{transfers: [attention], policies: [constant]}}
search: {{trials_per_arm: 1, sampler: random}}
confirm: {{seeds: 1}}
cache: {{mode: "off"}}
"""


def test_a_damaged_test_image_costs_nothing_and_is_repaired_or_taken_out_from_anywhere(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "kdstudy")
    make_folders(tmp_path / "pictures", train=8, test=3)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "pictures.yaml").write_text(PICTURES.format(root="../pictures"))
    monkeypatch.chdir(tmp_path)
    last = tmp_path / "pictures" / "test" / "cat" / "002.png"
    whole = last.read_bytes()
    last.write_bytes(whole[:40])
    with pytest.raises(DataError, match=f"^data: {last} cannot be read .*put the file in place or take it out"):
        run_study(load_study("studies/pictures.yaml"), store, cluster=InProcess())
    assert trials(store) == ()
    monkeypatch.chdir("/")
    assert list(Path(str(store.teachers)).glob("*")) == [], "nothing was trained"
    last.write_bytes(whole)
    forget()
    stopped = at(1, TrialStarted, ClusterError("ray: lost"))
    with pytest.raises(ClusterError):
        resume_study("latest", store, cluster=InProcess(stopped))
    assert [trial.state for trial in trials(store)] == ["completed", "queued"]
    found = trials(store)[0].weights_sha256
    last.unlink()
    forget()
    caplog.clear()
    resumed = resume_study("latest", store, cluster=InProcess())
    assert "data: other test images than when the study began; nothing was scored on them, so these count" in (
        caplog.messages
    )
    assert f"data: imagefolder in {tmp_path}/pictures, images of 3 x 8 x 8: 18 to train, 6 to validate, 8 to test" in (
        caplog.messages
    )
    assert [trial.state for trial in trials(store)] == ["completed", "completed"]
    assert trials(store)[0].weights_sha256 == found
    assert (resumed.study.dataset.test, resumed.study.dataset.verified) == (8, 1)
    assert (resumed.study.dataset.place, resumed.study.dataset.classes) == (
        str(tmp_path / "pictures"),
        ["ant", "bee", "cat"],
    )
    forget()
    with monkeypatch.context() as patched:
        patched.setattr("kdstudy.trial.build.verify_images", None)  # not once more, while they are the same
        confirm_study("latest", store, seeds=1, cluster=InProcess())
    with Ledger.open(store.ledger_url) as ledger:
        assert reproduce_trial(ledger, store, trials(store)[1]).verdict == "identical"
    last.write_bytes(whole)
    forget()
    with pytest.raises(StoreError, match="dataset: its fingerprint is"):
        confirm_study("latest", store, seeds=1, cluster=InProcess())


def test_a_trial_that_need_not_repeat_is_compared_within_a_tolerance(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TEXT.replace("seeds: 1", "seeds: 0").replace("trials_per_arm: 2", "trials_per_arm: 1")
    text = text.replace(", {layerwise: {interval: 1}}]", "]").replace("epochs: 2", "epochs: 1")
    run_study(parse_study(text + "numerics: {deterministic: false}\n"), store, cluster=InProcess())
    (trial,) = trials(store)
    assert trial.config["numerics"]["deterministic"] is False and trial.val is not None
    monkeypatch.setenv("KDSTUDY_STORE", str(tmp_path / "store"))
    for moved, verdict, code in ((0.0, "identical", 0), (5e-4, "within_tolerance", 0), (0.5, "differs", 1)):
        with contextlib.closing(sqlite3.connect(store.ledger_url.removeprefix("sqlite:///"))) as database, database:
            database.execute("UPDATE kdstudy_trials SET val = ?", (trial.val + moved,))
        assert command(["reproduce", "latest", "--json"]) == code
        document = json.loads(capsys.readouterr().out)
        jsonschema.validate(document, schema("reproduce"))
        assert (document["verdict"], document["deterministic"], document["tolerance"]) == (verdict, False, 1e-3)
        assert document["max_abs_difference"] == pytest.approx(moved)
    assert command(["reproduce", "latest"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("differs")
    assert "not to be expected: differences of at most 0.001 count as the same" in told


def test_another_file_of_weights_under_the_same_name_is_refused(store: Store, tmp_path: Path) -> None:
    allow_plugins("tests")
    file = weights_file(tmp_path / "w.pt")
    run_study(parse_study(BEGUN.format(plugin=PLUGIN, file=file)), store, cluster=InProcess())
    (trial,) = trials(store)
    with Ledger.open(store.ledger_url) as ledger:
        teacher = ledger.study(trial.study_id).teacher
        assert (teacher.seen, list(teacher.weights or {})) == (True, ["tiny"])
        assert reproduce_trial(ledger, store, trial).verdict == "identical"
        weights_file(file, seed=6)
        found = reproduce_trial(ledger, store, trial)
        assert (found.verdict, found.epochs_compared) == ("differs", 0)
        assert found.differences[-1]["field"] == "weights.tiny"
    with pytest.raises(StoreError, match="weights: 'tiny' has sha256"):
        confirm_study("latest", store, seeds=1, cluster=InProcess())


def test_other_training_images_are_refused_even_before_the_first_test_score(store: Store, tmp_path: Path) -> None:
    make_folders(tmp_path / "pictures", train=8, test=3)
    text = PICTURES.format(root=tmp_path / "pictures")
    with pytest.raises(ClusterError):
        run_study(parse_study(text), store, cluster=InProcess(at(1, TrialStarted, ClusterError("ray: lost"))))
    shutil.copy(tmp_path / "pictures/train/ant/000.png", tmp_path / "pictures/train/ant/001.png")
    forget()
    with pytest.raises(StoreError, match="dataset: its fingerprint is"):
        resume_study("latest", store, cluster=InProcess())


def forget() -> None:
    """What another process would not know."""
    _load.cache_clear()
    _decoded.cache_clear()


@contextlib.contextmanager
def sqlite(store: Store) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(store.local / "ledger.db")) as database, database:
        yield database


def leases(store: Store) -> list[object]:
    with sqlite(store) as database:
        return database.execute("SELECT study_id FROM kdstudy_holds").fetchall()


@pytest.mark.parametrize(
    ("error", "status"),
    [(ClusterError("ray: gone"), "interrupted"), (StoreError("full"), "interrupted"), (ModelError("odd"), "failed")],
)
def test_an_error_is_on_record_and_the_lease_is_free(store: Store, error: Exception, status: str) -> None:
    with pytest.raises(type(error)):
        run_study(study(), store, cluster=InProcess(at(0, EpochFinished, error)))
    with Ledger.open(store.ledger_url) as ledger:
        record = ledger.study(ledger.resolve("latest"))
        assert (record.status, record.message) == (status, str(error))
        assert [trial.state for trial in ledger.trials(record.id)] == ["queued"]
        assert leases(store) == []


def test_a_lease_that_was_lost_stops_the_study_before_anybody_hears_more(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kdstudy")

    def take(event: TrialEvent) -> None:
        if isinstance(event, TrialEnded) and event.number == 0:
            with Ledger.open(store.ledger_url) as ledger:
                study_id = ledger.resolve("latest")
                with sqlite(store) as database:
                    database.execute("DELETE FROM kdstudy_holds")
                ledger.acquire_lease(study_id, LeaseOwner.here())

    with pytest.raises(StoreError, match="runs it now"):
        run_study(study(), store, cluster=InProcess(take))
    assert trials(store)[0].state == "running", "the study is another driver's now"
    assert not [line for line in caplog.messages if line.startswith("[1/6]")]
    assert (store.trial(trials(store)[0].study_id, 0) / "checkpoints").files() != []
