"""Servers that a study may lean on, on loopback, for tests that take them away."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def default_uri(folder: Path) -> str:
    """The tracking URI of a local store: a SQLite database beside the artifacts."""
    return f"sqlite:///{(folder / 'mlflow.db').resolve().as_posix()}"


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """An MLflow server that keeps runs in ``folder/mlflow.db`` and artifacts in ``folder/served``, once it answers."""
    places = ["--backend-store-uri", default_uri(folder), "--artifacts-destination", str(folder / "served")]
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", *places, *address]
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet) as process:
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                    break
                except (urllib.error.URLError, OSError):
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
            yield process
        finally:
            process.terminate()
