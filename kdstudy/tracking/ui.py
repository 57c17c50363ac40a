"""Serve the MLflow UI of a local store on loopback, for `kdstudy ui`."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from kdstudy.errors import StoreError
from kdstudy.settings import child_environment
from kdstudy.storage import wait_until
from kdstudy.tracking.local import check_database, database_of, follow_store

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
START_SECONDS = 120.0
STOP_SECONDS = 10.0


def serve(uri: str, artifacts: Path, port: int, ready: Callable[[str], None]) -> int:
    """Run the UI until Ctrl-C.

    Args:
        uri: SQLite tracking URI of the store.
        artifacts: The store's folder of artifacts.
        port: On loopback.
        ready: Called with the UI's address, without a slash at the end, once it answers.

    Returns:
        The server's exit code; 0 after Ctrl-C.

    Raises:
        StoreError: There is no database yet, the port is taken, or the server does not come up.
    """
    database = database_of(uri)
    if not database.exists():
        raise StoreError(f"ui: {database} does not exist; run a study first, or name its --store")
    check_database(database)
    _require_free(port)
    try:
        follow_store(database, artifacts)
    except StoreError as error:  # it is read all the same
        log.warning(str(error))
    process = subprocess.Popen(  # noqa: S603  our own interpreter
        [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--backend-store-uri",
            uri,
            "--host",
            HOST,
            "--port",
            str(port),
            "--workers",
            "1",
            "--no-serve-artifacts",
        ],
        env=child_environment(
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
            MLFLOW_DISABLE_TELEMETRY="true",
            MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false",
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # `_end` is to reach the server's own children, too
    )
    try:
        _wait_until_it_answers(process, port)
        ready(f"http://{HOST}:{port}")
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and its children: with time to close the database, then without; a second Ctrl-C is without."""
    try:
        _signal_all(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    finally:
        _signal_all(process, signal.SIGKILL)
        process.wait()


def _signal_all(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # none of them is left
        os.killpg(process.pid, number)


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise StoreError(f"ui: port {port} is taken; choose another --port")


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    wait_until(lambda: process.poll() is not None or _answers(port), seconds=START_SECONDS)
    if process.poll() is not None or not _answers(port):
        raise StoreError(
            f"ui: the MLflow server did not come up on port {port}; try `mlflow server --port {port}` to see why"
        )


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2):
            return True
    except OSError:  # URLError included
        return False
