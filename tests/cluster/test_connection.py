"""What is said about an address before Ray is asked, and how an instance of our own starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdstudy.cluster import check_address
from kdstudy.cluster.connection import connected
from kdstudy.errors import ClusterError


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("auto", r"may join a stranger's cluster; give HOST:PORT"),
        ("ray://127.0.0.1:10001", r"HOST:PORT, or let `kdstudy submit STUDY --address http://HOST:8265` do so"),
        ("127.0.0.1", r"not an address, got '127\.0\.0\.1'; give HOST:PORT"),
        ("127.0.0.1:head", r"not an address, got '127\.0\.0\.1:head'"),
        ("127.0.0.1:1", r"nothing listens at 127\.0\.0\.1:1 \(Connection refused\); check that the head runs"),
    ],
)
def test_an_address_that_cannot_do_is_one_line(address: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message) as error:
        check_address(address)
    assert str(error.value).startswith("--address: ")
    assert "\n" not in str(error.value)


START = """
import os, signal, sys
import ray
from pathlib import Path
from kdstudy.cluster.connection import connected

with connected(None, Path(sys.argv[1])):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
        os.killpg(0, number)
    priority = ray.remote(lambda: os.getpriority(os.PRIO_PROCESS, 0))
    print(ray.is_initialized(), ray.get(priority.remote(), timeout=30) - os.getpriority(os.PRIO_PROCESS, 0))
"""


def start(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start Ray in a process that imported it before kdstudy chose how it is to be started."""
    return subprocess.run(
        [sys.executable, "-c", START, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        env={name: value for name, value in {**os.environ, **environment}.items() if name != "RAY_worker_niceness"},
        start_new_session=True,
    )


def test_an_instance_starts_wherever_and_is_out_of_the_way_of_signals_to_the_drivers_group(tmp_path: Path) -> None:
    done = start(tmp_path, TMPDIR=str(tmp_path / ("slurm_jobdir" * 6)))
    assert done.stdout == "True 0\n", f"{done.stderr}: it answers after the signals, at the driver's priority"
    assert (tmp_path / "ray-token").exists(), "though Ray was imported before"


def test_an_instance_that_cannot_start_is_said_without_an_address(tmp_path: Path) -> None:
    done = start(tmp_path, RAY_OVERRIDE_RESOURCES="{")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("kdstudy.errors.ClusterError: ray: cannot start on this machine (")


def test_an_instance_whose_workers_could_not_start_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="by bash, which is not on the PATH"), connected(None, tmp_path):
        pass
