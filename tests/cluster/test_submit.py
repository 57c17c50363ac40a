"""What a cluster is asked to run: a driver that does not stay in the job's folder, which may vanish under it."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path
from typing import Any

import pytest

from kdstudy import cli
from kdstudy.cluster import Places, submit
from tests.configs import TEXT


class Jobs:
    """Stands in for Ray's client of a dashboard."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def submit_job(self, **asked: Any) -> str:
        self.asked = asked
        return "job-1"


def test_a_submitted_driver_leaves_the_jobs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, jobs = tmp_path / "tiny.yaml", Jobs()
    study.write_text(TEXT.format(transfer="none", policy="constant", epochs=1, base_lr=0.1))
    monkeypatch.setattr(importlib.import_module("kdstudy.cluster.submit"), "_client", lambda _address: jobs)
    assert submit(study, "http://head:8265", Places("/shared/store", None, None)) == "job-1"
    words = shlex.split(jobs.asked["entrypoint"].replace("$RAY_ADDRESS", "head:6379"))
    assert words[:4] == ["python", "-m", "kdstudy", "run"]
    monkeypatch.setattr(cli, "run", cli.run)  # a module of that name takes its place when it is imported
    given = importlib.import_module("kdstudy.cli.run").run_command.make_context("run", words[4:]).params
    assert (given["path"], given["address"], given["leave"]) == (Path("tiny.yaml"), "head:6379", True)
    assert given["root"] == "/shared/store"
