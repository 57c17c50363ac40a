"""How an instance of our own starts: where its files lie, again where it takes too long, and out of signals' way."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from kdstudy.cluster import connected
from kdstudy.cluster.instance import MOST_BYTES, temporary_folder
from kdstudy.errors import ClusterError

SLOW = "The current node timed out during startup. This could happen because some of the raylet failed to startup"


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def said(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = caplog.records
    return record.getMessage()


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
@pytest.mark.parametrize(
    ("place", "trouble"),
    [
        ("/tmp/" + "slurm_jobdir" * 6, "77 letters, 39 are the most"),
        ("/tmp/k\u00fcche", "not ASCII: \u00fc"),
        ("/proc", ""),
        ("/dev/null", "Not a directory"),
        ("tmp", "not an absolute path"),
        ("", "not an absolute path"),
    ],
)
def test_a_folder_that_ray_cannot_use_is_named_and_a_short_one_taken(
    name: str, place: str, trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, place)
    assert temporary_folder() == {"RAY_TMPDIR": "/tmp"}
    assert said(caplog).startswith(f"{name}: Ray cannot work in '{place}' ({trouble}")
    assert "\n" not in said(caplog)


def test_a_folder_that_ray_can_use_is_left_to_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert temporary_folder() == {}
    short = Path("/tmp") / f"k{os.getpid()}"
    monkeypatch.setenv("TMPDIR", str(short))
    try:
        assert temporary_folder() == {}, "one that is not there is made, as Ray would"
    finally:
        (short / "ray").rmdir()
        short.rmdir()
    monkeypatch.setenv("TMPDIR", "/dev/null")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert temporary_folder() == {}, "Ray does not look at the other"


def test_the_longest_folder_is_what_rays_own_check_lets_pass() -> None:
    from ray._private.utils import validate_socket_filepath

    rest = "/ray/session_2026-11-28_20-36-01_123456_4194304/sockets/plasma_store"
    validate_socket_filepath("/" + "t" * (MOST_BYTES - 1) + rest)
    with pytest.raises(OSError, match="AF_UNIX path length"):
        validate_socket_filepath("/" + "t" * MOST_BYTES + rest)


@pytest.mark.parametrize("fails", [1, 2])
def test_a_start_that_takes_too_long_is_one_line_and_one_more_try(
    fails: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def init(**_options: object) -> None:
        tries.append(1)
        if len(tries) <= fails:
            raise Exception(SLOW)

    monkeypatch.setattr(ray, "init", init)
    if fails == 1:
        with connected(None, tmp_path):
            pass
    else:
        wrong = pytest.raises(ClusterError, match=r"^ray: cannot start on this machine \(The current node timed out")
        with wrong, connected(None, tmp_path):
            pass
    assert len(tries) == 2
    assert said(caplog).startswith("ray: did not start (The current node timed out")
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize("error", [OSError("no space"), UnicodeEncodeError("ascii", "\u00fc", 0, 1, "ordinal")])
def test_what_the_system_refuses_at_a_start_is_one_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_options: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ClusterError, match=r"^ray: cannot start on this machine"), connected(None, tmp_path):
        pass
    with pytest.raises(ClusterError, match=r"^--address: cannot join"), connected("127.0.0.1:1", tmp_path):
        pass


def test_a_bug_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_options: object) -> None:
        raise AttributeError("ours")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(AttributeError), connected(None, tmp_path):
        pass


def ended(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)


LOST = """
import subprocess, sys, threading, time
from kdstudy.cluster import instance
instance.LEAVE_SECONDS = 1.0
gone, said = threading.Event(), []
process = subprocess.Popen(["raylet", "60"], executable="/bin/sleep")
other = subprocess.Popen(["log_monitor"], executable="/bin/true")
with instance.watched([process, other], gone, said.append):
    time.sleep(1.0)
    assert not said
    process.kill()
    assert gone.wait(5)
    time.sleep(0.1)
    (error,) = said
    print(type(error).__name__, error, flush=True)
    {waits}
"""


def test_a_driver_that_waits_for_a_ray_that_has_gone_leaves_as_interrupted() -> None:
    done = ended(LOST.format(waits="time.sleep(50)"))
    assert (done.returncode, done.stdout.split()[0]) == (130, "ClusterError"), done.stderr


def test_who_leaves_in_time_leaves_as_they_like() -> None:
    assert ended(LOST.format(waits="sys.exit(7)")).returncode == 7
    quiet = LOST.partition("    time.sleep(1.0)")[0] + "    pass\nprocess.kill()\ntime.sleep(1.5)\nassert not said"
    assert ended(quiet).returncode == 0, "after the end nobody looks"
