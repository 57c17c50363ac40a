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

from kdstudy.cli import run
from kdstudy.cli.mlflow import free_port as next_free_port
from kdstudy.errors import StoreError
from kdstudy.ledger import Ledger, StudyRecord, TrackingRef
from kdstudy.tracking import Tracker
from kdstudy.tracking.ui import serve
from tests.confirmed import record
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


def test_without_a_port_the_next_free_one_is_taken_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        one.listen()
        first = int(one.getsockname()[1])
        monkeypatch.setattr("kdstudy.cli.mlflow.PORT", first)
        monkeypatch.setattr("kdstudy.cli.mlflow.PORTS", 1)
        with pytest.raises(StoreError, match=f"ui: ports {first} to {first} are all taken; choose another --port"):
            next_free_port()
        try:
            two.bind(("127.0.0.1", first + 1))
            two.listen()
        except OSError:
            pytest.skip("another program has the next port")
        monkeypatch.setattr("kdstudy.cli.mlflow.PORTS", 20)
        port = next_free_port()
        assert first + 1 < port < first + 20
        assert capsys.readouterr().err == f"port {first} is taken; this is on {port}\n"
    assert next_free_port() == first
    assert capsys.readouterr().err == ""


def test_a_browser_opens_on_the_page_of_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", lambda address: opened.append(address) or 0)
    store, server = tmp_path / "store", "http://mlflow.example:80"
    with Ledger.open(f"sqlite:///{store}/ledger.db", create=True) as ledger:
        record(ledger, {"attention/constant": [(0.5,)]})
        study_id = ledger.resolve("latest")
        ledger.update_study(
            study_id, tracking=TrackingRef(uri="http://mlflow.example:80", experiment_id="7", run_id="abc")
        )
    arguments = ["ui", study_id, "--open", "--store", str(store), "--tracking-uri", "http://mlflow.example:80"]
    assert run(arguments) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(f"  {study_id}") and second.endswith("  all studies")
    assert opened == [first.partition("  ")[0]]
    assert first.startswith(f"{server}/#/experiments/7/runs")
