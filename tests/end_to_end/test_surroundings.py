"""One study whose surroundings fail it: a trial told to go, the bucket's server away, MLflow gone at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from mlflow import MlflowClient
from moto.server import ThreadedMotoServer

from tests.command_line import SMOKE, trial_processes, until
from tests.servers import free_port, mlflow_server

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

AWAY_SECONDS = 8.0


class Bucket:
    """An S3 server that can be taken away; it keeps what it holds."""

    def __init__(self) -> None:
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    server = Bucket()
    yield server
    server.stop()


def test_a_study_bears_with_its_surroundings(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "KDSTUDY_CACHE": str(tmp_path / "cache"),
        "KDSTUDY_LEDGER": f"sqlite:///{tmp_path}/ledger.db",
        "KDSTUDY_STORE": f"s3://away/kd?endpoint_override={bucket.address}&region=us-east-1",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=bucket.address, region_name="us-east-1").create_bucket(Bucket="away")

    with mlflow_server(tmp_path, port) as server:
        hit = subprocess.Popen(
            [sys.executable, "-m", "kdstudy", "run", str(SMOKE)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with hit:
            assert hit.stderr is not None
            until(hit, "[1/8]")
            tell_a_trial_to_go(hit.pid)
            until(hit, "[3/8]")
            bucket.stop()
            time.sleep(AWAY_SECONDS)
            bucket.start()
            until(hit, "[5/8]")
            server.terminate()
            rest = hit.stderr.read()
            assert hit.wait(60) == 4, rest
    assert "[8/8]" in rest
    assert "Traceback" not in rest
    hit_id = kdstudy_json("list")[0]["study_id"]
    assert "the record is whole, `" in rest and f"kdstudy sync {hit_id}" in rest
    assert kdstudy_json("show", hit_id)["status"] == "finished"
    assert f"kdstudy sync {hit_id}" in resume(hit_id, code=4)

    with mlflow_server(tmp_path, port):
        assert "warning" not in resume(hit_id, code=0)
        assert_each_point_once(f"http://127.0.0.1:{port}", hit_id)
        assert kdstudy_json("sync", hit_id) == {"study_id": hit_id, "pending": 0}
        assert_each_point_once(f"http://127.0.0.1:{port}", hit_id)
    assert "warning" not in resume(hit_id, code=0)  # there is nothing to deliver, so nobody is asked
    with mlflow_server(tmp_path, port):
        calm_id = kdstudy_json("run", str(SMOKE))["study_id"]
    calm, disturbed = (kdstudy_json("show", study)["trials"] for study in (calm_id, hit_id))
    for one, other in zip(calm, disturbed, strict=True):
        for key in ("state", "values", "val", "test", "epochs", "weights_sha256"):
            assert one[key] == other[key], key


def tell_a_trial_to_go(driver: int) -> None:
    """Send SIGTERM to a process that trains; it must leave, and soon."""
    deadline = time.monotonic() + 60
    while not (trials := trial_processes(driver)):
        assert time.monotonic() < deadline, "no trial runs"
        time.sleep(0.05)
    os.kill(trials[0], signal.SIGTERM)
    while Path(f"/proc/{trials[0]}").exists():
        assert time.monotonic() < deadline, "it does not take notice"
        time.sleep(0.05)


def resume(study_id: str, *, code: int) -> str:
    """Resume a study; return what is said beside its result."""
    command = [sys.executable, "-m", "kdstudy", "resume", study_id]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr


def assert_each_point_once(uri: str, study_id: str) -> None:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("digits-smoke")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.`kdstudy.study_id` = '{study_id}'")
    trials = [run for run in runs if run.data.tags.get("kdstudy.kind") == "trial"]
    assert sorted(int(run.data.tags["kdstudy.trial"]) for run in trials) == list(range(8))
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in trials:
        assert [point.step for point in client.get_metric_history(run.info.run_id, "val")] == [1, 2, 3, 4]


def kdstudy_json(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "kdstudy", *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
