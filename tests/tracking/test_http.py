"""The same against a real MLflow server, which keeps the artifacts itself."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kdstudy.ledger import StudyRecord
from kdstudy.models import NetworkSpec, save_student
from kdstudy.tracking import Tracker
from kdstudy.tracking.client import UnavailableError
from tests.servers import free_port, mlflow_server
from tests.stages import ended
from tests.tracking.records import close_study, make_epoch, make_trial

pytestmark = pytest.mark.slow


@pytest.fixture
def server(store: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    with mlflow_server(store, port) as process:
        yield f"http://127.0.0.1:{port}", process


def test_a_study_goes_to_a_server_whole_and_once(
    server: tuple[str, subprocess.Popen[bytes]], study: StudyRecord, store: Path, tmp_path: Path
) -> None:
    uri, process = server
    saved = tmp_path / "student"
    spec = NetworkSpec("resnet8", {}, num_classes=10, image_shape=(1, 8, 8), mean=(0.3,), std=(0.4,))
    save_student(spec.build(seed=5), saved, spec)
    trial = make_trial(stage=ended(epochs=40))
    epochs = [make_epoch(number) for number in range(1, 41)]
    for _ in range(2):  # two drivers, one after the other
        tracker = Tracker(uri, tmp_path / "unused")
        opened = dataclasses.replace(study, status="finished", tracking=tracker.open_study(study))
        run_id, last = tracker.publish_trial(opened, trial, epochs)
        close_study(tracker, opened, {"comparisons": []}, "table", saved, "<p>")
    client = MlflowClient(uri)
    assert last == 40
    assert len(client.search_runs([opened.tracking.experiment_id])) == 2
    assert sorted(point.step for point in client.get_metric_history(run_id, "val")) == list(range(1, 41))
    names = {found.path for found in client.list_artifacts(opened.tracking.run_id)}
    assert names == {"study.yaml", "environment.json", "git.diff", "comparison.json", "comparison.md", "report.html"}
    (model,) = client.search_logged_models([opened.tracking.experiment_id])
    assert model.artifact_location.startswith("mlflow-artifacts:")
    assert list((store / "served").rglob("student.safetensors"))
    assert not (tmp_path / "unused").exists()
    assert client.get_model_version_by_alias("smoke", "best").run_id == opened.tracking.run_id
    process.terminate()
    process.wait(30)
    with pytest.raises(UnavailableError, match="check that the server runs"):
        tracker.publish_trial(opened, make_trial(number=8, index=4), [make_epoch(1)])
