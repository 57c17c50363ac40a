from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kdstudy.errors import StoreError
from kdstudy.ledger import Publication, Queued, Running, StudyRecord
from kdstudy.tracking import Tracker
from kdstudy.tracking.client import RejectedError
from tests.servers import default_uri
from tests.stages import START, ended
from tests.tracking.records import BEGUN, close_study, make_epoch, make_trial

COMPARISON = {
    "study_id": "smoke-0123abcd",
    "comparisons": [
        {
            "family": "study",
            "transfer": "attention",
            "baseline": "constant",
            "treatment": treatment,
            "difference": difference,
            "ci_low": -0.01,
            "ci_high": 0.03,
            "p_adjusted": None,
        }
        for treatment, difference in (("layerwise", 0.01), ("decay", 0.02))
    ],
}


@pytest.fixture
def client(store: Path) -> MlflowClient:
    return MlflowClient(default_uri(store))


@pytest.fixture
def opened(tracker: Tracker, study: StudyRecord) -> StudyRecord:
    return dataclasses.replace(study, tracking=tracker.open_study(study))


def history(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float, int]]:
    found = client.get_metric_history(run_id, name)
    return sorted((point.step, point.value, point.timestamp) for point in found)


def text(client: MlflowClient, run_id: str, name: str, folder: Path) -> str:
    return Path(client.download_artifacts(run_id, name, str(folder))).read_text()


def runs(client: MlflowClient, study: StudyRecord) -> list[Any]:
    return list(client.search_runs([study.tracking.experiment_id]))


def test_a_study_is_a_run_with_its_file_environment_diff_and_data(
    opened: StudyRecord, client: MlflowClient, tmp_path: Path
) -> None:
    run_id = opened.tracking.run_id
    run = client.get_run(run_id)
    assert run.info.run_name == opened.id
    assert run.info.status == "RUNNING"
    assert run.info.start_time == round(START.timestamp() * 1000)
    assert run.data.tags["kdstudy.study_id"] == opened.id
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert run.data.params == {
        "seed": "3",
        "data.name": "digits",
        "data.fingerprint": "f" * 64,
        "teacher.sha256": "7ea",
        "teacher.val": "0.98",
        "teacher.key": "k",
        "git.commit": "c0ffee",
    }
    assert text(client, run_id, "study.yaml", tmp_path) == opened.text
    assert text(client, run_id, "git.diff", tmp_path) == "-old\n+new\n"
    environment = json.loads(text(client, run_id, "environment.json", tmp_path))
    assert environment["git"]["directory"] == {"commit": "c0ffee", "dirty": True, "diff_sha256": "ab"}
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", "f" * 32)


def test_opening_a_study_again_finds_its_run_and_learns_what_came_later(
    tracker: Tracker, opened: StudyRecord, client: MlflowClient
) -> None:
    later = dataclasses.replace(
        opened, teacher=dataclasses.replace(opened.teacher, val=0.5, test=0.97), status="interrupted"
    )
    assert tracker.open_study(later) == opened.tracking
    (run,) = runs(client, opened)
    assert run.data.params["teacher.test"] == "0.97"
    assert run.data.params["teacher.val"] == "0.98", "MLflow's parameters never change"
    assert run.info.status == "KILLED"


def test_a_trial_is_a_child_run_with_flat_parameters_and_one_point_an_epoch(
    tracker: Tracker, opened: StudyRecord, client: MlflowClient
) -> None:
    trial = make_trial(stage=Running(BEGUN, 2))
    run_id, last = tracker.publish_trial(opened, trial, [make_epoch(1), make_epoch(2)])
    run = client.get_run(run_id)
    assert last == 2
    assert run.info.run_name == "attention/layerwise #7"
    assert run.info.status == "RUNNING"
    tags = run.data.tags
    assert tags["mlflow.parentRunId"] == opened.tracking.run_id
    assert (tags["arm"], tags["transfer"], tags["policy"]) == (
        "attention/layerwise",
        "attention",
        "layerwise",
    )
    assert (tags["phase"], tags["state"]) == ("search", "running")
    assert run.data.params["train.base_lr"] == "0.05"
    assert run.data.params["arms.policies.layerwise.momentum"] == "0.5"
    started = round((START + timedelta(seconds=10)).timestamp() * 1000)
    assert history(client, run_id, "val") == [(1, 0.6, started + 1500), (2, 0.7, started + 3000)]
    assert history(client, run_id, "layers/layer1/multiplier") == [(2, 1.2, started + 3000)]
    assert history(client, run_id, "terms/attention/layer1")[0][:2] == (1, 1.0)
    assert history(client, run_id, "rates/head")[1][:2] == (2, 0.05)


def test_publishing_twice_changes_nothing_even_for_a_tracker_that_knows_nothing(
    tracker: Tracker, opened: StudyRecord, client: MlflowClient, store: Path
) -> None:
    trial = make_trial(phase="confirm", index=2, stage=ended(epochs=2, test=0.9))
    epochs = [make_epoch(1), make_epoch(2)]
    first = tracker.publish_trial(opened, trial, epochs)
    names = client.get_run(first[0]).data.metrics
    before = {name: history(client, first[0], name) for name in names}
    # Another process, which retrained epoch 2 and took longer: still one point a step.
    slower = [make_epoch(1), make_epoch(2, seconds=9.0)]
    other = Tracker(default_uri(store), store / "artifacts")
    for again in (tracker, other):
        assert again.publish_trial(opened, trial, epochs) == first
        again.publish_trial(opened, trial, slower)
    other.close()
    after = {name: history(client, first[0], name) for name in names if name != "test"}
    assert after == {name: points for name, points in before.items() if name != "test"}
    assert [point[:2] for point in before["test"]] == [(2, 0.9)]
    assert len(runs(client, opened)) == 2


def test_one_run_a_trial_after_a_crash_before_its_id_was_recorded(
    tracker: Tracker, opened: StudyRecord, client: MlflowClient, store: Path
) -> None:
    run_id, _ = tracker.publish_trial(opened, make_trial(stage=Running(BEGUN, 1)), [make_epoch(1)])
    restarted = Tracker(default_uri(store), store / "artifacts")
    again, last = restarted.publish_trial(opened, make_trial(stage=Running(BEGUN, 2)), [make_epoch(1), make_epoch(2)])
    restarted.close()
    assert (again, last) == (run_id, 2)
    assert [step for step, _, _ in history(client, run_id, "val")] == [1, 2]
    assert len(runs(client, opened)) == 2


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("completed", "FINISHED"),
        ("diverged", "FINISHED"),
        ("stopped", "KILLED"),
        ("failed", "FAILED"),
        ("queued", "SCHEDULED"),
    ],
)
def test_the_state_decides_the_status(
    tracker: Tracker, opened: StudyRecord, client: MlflowClient, tmp_path: Path, state: str, status: str
) -> None:
    error = "Traceback\nValueError: no" if state == "failed" else None
    stage = Queued(BEGUN) if state == "queued" else ended(state, error=error)
    run_id, _ = tracker.publish_trial(opened, make_trial(), [])
    tracker.publish_trial(opened, make_trial(stage=stage, published=Publication(run_id)), [])
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["state"]) == (status, state)
    if error:
        assert run.data.tags["error"] == "ValueError: no"
        assert text(client, run_id, "error.txt", tmp_path) == error


def test_missing_numbers_are_left_out_and_odd_names_made_legal(
    tracker: Tracker, opened: StudyRecord, client: MlflowClient
) -> None:
    epoch = make_epoch(1, loss=None, val=None, val_loss=None, terms={"a=b[0]": 1.0, "cross_entropy": None})
    run_id, _ = tracker.publish_trial(opened, make_trial(stage=ended("diverged", 1)), [epoch])
    metrics = client.get_run(run_id).data.metrics
    assert metrics["terms/a_b_0_"] == 1.0
    assert not {"loss", "val", "terms/cross_entropy"} & set(metrics)


def test_many_epochs_are_split_into_requests(tracker: Tracker, opened: StudyRecord, client: MlflowClient) -> None:
    epochs = [make_epoch(number) for number in range(1, 151)]
    run_id, _ = tracker.publish_trial(opened, make_trial(stage=ended(epochs=150)), epochs)
    assert [step for step, _, _ in history(client, run_id, "rate")] == list(range(1, 151))


def test_closing_puts_the_comparison_on_the_study_and_ends_it(
    tracker: Tracker, opened: StudyRecord, client: MlflowClient, tmp_path: Path
) -> None:
    finished = dataclasses.replace(opened, status="finished")
    for _ in range(2):
        close_study(tracker, finished, COMPARISON, "| attention | inconclusive |", None, "<p>page</p>")
    run_id = opened.tracking.run_id
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    moment = round(START.timestamp() * 1000)
    assert history(client, run_id, "verdict/attention layerwise/difference") == [(0, 0.01, moment)]
    assert history(client, run_id, "verdict/attention decay/difference") == [(0, 0.02, moment)]
    assert "verdict/attention layerwise/p_adjusted" not in run.data.metrics
    assert "inconclusive" in run.data.tags["mlflow.note.content"]
    assert json.loads(text(client, run_id, "comparison.json", tmp_path)) == COMPARISON
    assert "inconclusive" in text(client, run_id, "comparison.md", tmp_path)
    assert text(client, run_id, "report.html", tmp_path) == "<p>page</p>"
    assert tracker.open_study(dataclasses.replace(opened, status="running")) == opened.tracking
    assert client.get_run(run_id).info.status == "RUNNING"


def test_a_deleted_experiment_is_refused_in_one_line(
    tracker: Tracker, opened: StudyRecord, client: MlflowClient
) -> None:
    client.delete_experiment(opened.tracking.experiment_id)
    with pytest.raises(RejectedError, match="'smoke' was deleted; restore it in MLflow"):
        tracker.open_study(opened)


def test_a_deleted_run_is_refused_not_retried(tracker: Tracker, opened: StudyRecord, client: MlflowClient) -> None:
    run_id, _ = tracker.publish_trial(opened, make_trial(stage=Running(BEGUN, 1)), [make_epoch(1)])
    client.delete_run(run_id)
    with pytest.raises(RejectedError, match="tracking: sqlite:"):
        tracker.publish_trial(
            opened, make_trial(stage=Running(BEGUN, 2), published=Publication(run_id)), [make_epoch(1), make_epoch(2)]
        )


def test_artifacts_stand_beside_the_database(opened: StudyRecord, store: Path) -> None:
    assert list((store / "artifacts" / "smoke").rglob("study.yaml"))


def test_a_damaged_record_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match="not a usable database"):
        Tracker(default_uri(tmp_path), tmp_path / "artifacts")
