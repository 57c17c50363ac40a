from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from kdstudy.errors import StoreError
from kdstudy.ledger import StudyRecord
from kdstudy.tracking import Tracker
from kdstudy.tracking.server import default_uri
from kdstudy.tracking.ui import serve


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_the_ui_serves_the_runs_on_loopback_and_ends_with_ctrl_c(
    tracker: Tracker, study: StudyRecord, store: Path
) -> None:
    tracker.open_study(study)
    port = free_port()
    code = "import sys; from kdstudy.tracking.ui import serve; serve(sys.argv[1], int(sys.argv[2]), print)"
    command = [sys.executable, "-u", "-c", code, default_uri(store), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/#/experiments\S*", address)
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name?experiment_name=smoke"
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert json.load(answer)["experiment"]["name"] == "smoke"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    deadline = time.monotonic() + 20
    while reachable(port):
        assert time.monotonic() < deadline, "the server outlived its command"
        time.sleep(0.1)


def test_without_a_study_there_is_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run a study first"):
        serve(default_uri(tmp_path), free_port(), print)


def test_a_taken_port_is_one_line(store: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(StoreError, match="choose another --port"):
            serve(default_uri(store), int(other.getsockname()[1]), print)
