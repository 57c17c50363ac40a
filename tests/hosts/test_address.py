"""A study on a Ray cluster of several hosts: sent to it, driven on it, refused where it could not work."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.lab import GCS, HEAD, Lab

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "studies" / "smoke.yaml")


def kdstudy(lab: Lab, *arguments: str, host: str = "head", env: dict[str, str] | None = None) -> Any:
    command = (sys.executable, "-m", "kdstudy", *arguments)
    process = lab.hosts[host].popen(*command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = process.communicate(timeout=300)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def refused(done: Any) -> list[str]:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("error:")]


def test_a_submitted_study_runs_on_the_cluster_and_repeats_on_one_machine(lab: Lab) -> None:
    places = ("--store", lab.store)
    done = kdstudy(lab, "submit", SMOKE, "--address", f"http://{HEAD}:8265", *places, "--wait", host="servers")
    assert done.returncode == 0, done.stderr
    shown = json.loads(kdstudy(lab, "show", "latest", "--json").stdout)
    assert shown["status"] == "finished"
    trials = shown["trials"]
    assert [trial["state"] for trial in trials] == ["completed"] * 8
    assert shown["environment"]["git"]["directory"] or shown["environment"]["git"]["kdstudy"]
    again = json.loads(kdstudy(lab, "reproduce", "latest", "--trial", "6", "--json", host="servers").stdout)
    assert again["verdict"] == "identical"
    assert again["weights_identical"]

    job = ("submit", SMOKE, "--address", f"http://{HEAD}:8265", *places, "--warm-start", shown["study_id"], "--wait")
    warm = kdstudy(lab, *job, host="servers")
    assert warm.returncode == 0, warm.stderr
    assert f"trials of {shown['study_id']}" in warm.stderr


def test_a_node_with_another_kdstudy_is_one_line_before_any_trial(lab: Lab) -> None:
    altered = lab.folder / "altered"
    shutil.copytree(ROOT / "kdstudy", altered / "kdstudy", ignore=shutil.ignore_patterns("__pycache__"))
    with (altered / "kdstudy" / "seeds.py").open("a") as file:
        file.write("# not the driver's\n")
    lab.kill_worker(1)
    lab.restart(1, {"PYTHONPATH": str(altered)})
    (line,) = refused(kdstudy(lab, "run", SMOKE, "--address", GCS))
    assert f"node {lab.workers[1].name} ({lab.workers[1].address}): has kdstudy" in line
    assert "and the driver kdstudy" in line
    shown = json.loads(kdstudy(lab, "show", "latest", "--json").stdout)
    assert (shown["status"], shown["trials"]) == ("interrupted", [])
    lab.kill_worker(1)
    lab.restart(1)


def test_a_store_that_the_nodes_do_not_share_is_one_line_each(lab: Lab) -> None:
    lines = refused(kdstudy(lab, "run", SMOKE, "--address", GCS, "--store", "/tmp/ray/mine"))
    assert len(lines) == 2
    assert all("is not the same folder there as here" in line for line in lines)


@pytest.mark.parametrize(
    ("host", "env", "message"),
    [
        ("servers", {}, "this machine is one of its nodes"),
        ("head", {"RAY_AUTH_MODE": "disabled"}, "token"),
        ("head", {"RAY_AUTH_TOKEN_PATH": "", "RAY_AUTH_TOKEN": "0" * 64}, "token"),
    ],
)
def test_who_may_not_join_is_told_in_one_line(lab: Lab, host: str, env: dict[str, str], message: str) -> None:
    (line,) = refused(kdstudy(lab, "run", SMOKE, "--address", GCS, host=host, env=env))
    assert line.startswith("error: --address: cannot join")
    assert message in line
