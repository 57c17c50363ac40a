from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from kdstudy.errors import StoreError
from kdstudy.ledger import StudyRecord
from kdstudy.tracking import Tracker
from kdstudy.tracking.ui import serve
from tests.servers import default_uri


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def user_interface(store: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """Run `kdstudy ui` as a user does."""
    command = [sys.executable, "-u", "-m", "kdstudy", "ui", "--store", str(store), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def left(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that have not ended, and end them."""
    alive: list[psutil.Process] = psutil.wait_procs(processes, timeout=20)[1]
    for process in alive:
        process.kill()
    return alive


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_ui_serves_the_runs_on_loopback_and_ends_with_all_its_processes(
    tracker: Tracker, study: StudyRecord, store: Path, number: signal.Signals
) -> None:
    tracker.open_study(study)
    port = free_port()
    with user_interface(store, port) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/#/experiments\S*  all studies", address), (
            "no study in the ledger"
        )
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name?experiment_name=smoke"
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert json.load(answer)["experiment"]["name"] == "smoke"
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) >= 2  # mlflow's own command, and the server that it starts
        process.send_signal(number)
        code = process.wait(30)
    assert not left(below)
    assert code == 0
    assert not reachable(port)


@pytest.mark.slow
def test_sigterm_while_the_server_starts_leaves_nothing_behind(store: Path) -> None:
    port = free_port()
    with user_interface(store, port) as process:
        ui = psutil.Process(process.pid)
        deadline = time.monotonic() + 60
        while not (below := ui.children(recursive=True)):
            assert time.monotonic() < deadline, "the server was not started"
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert not left(below)
    assert code == 0


def test_without_a_study_there_is_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run a study first"):
        serve(default_uri(tmp_path), tmp_path / "artifacts", free_port(), print)


def test_a_taken_port_is_one_line(store: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(StoreError, match="choose another --port"):
            serve(default_uri(store), store / "artifacts", int(other.getsockname()[1]), print)
