"""An instance of Ray of our own on this machine: where its files lie, its priority, and its processes' session."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from kdstudy.errors import ClusterError
from kdstudy.settings import foreign

log = logging.getLogger(__name__)

OWN = {"RAY_worker_niceness": "0"}  # Ray's own default is 15: beside any other work a study would take hours
SHORT = "/tmp"  # noqa: S108  where Ray itself goes without TMPDIR; its session folder there is a new one
MOST_BYTES = 39
"""Longest folder below which Ray can make its sockets: a socket's path has 107 bytes, and Ray adds up to 68."""
VITAL = ("gcs_server", "raylet")
LOOK_SECONDS = 0.5
LEAVE_SECONDS = 10.0
"""How long a driver without Ray may take to write down where it stands."""
INTERRUPTED = 130


def temporary_folder() -> dict[str, str]:
    """Return the variable that gives Ray a folder it can use, and say so; nothing where it can use the one it has."""
    name: Literal["RAY_TMPDIR", "TMPDIR"] = "RAY_TMPDIR" if foreign("RAY_TMPDIR") is not None else "TMPDIR"
    place = foreign(name)
    if place is None or (name == "TMPDIR" and not sys.platform.startswith("linux")):  # Ray reads it there alone
        return {}
    trouble = _trouble(place)
    if trouble is None:
        return {}
    log.warning(f"{name}: Ray cannot work in '{place}' ({trouble}); its files go to {SHORT}/ray")
    return {"RAY_TMPDIR": SHORT}


def _trouble(place: str) -> str | None:
    """Return why Ray cannot keep its sockets and logs below a folder; None if it can."""
    if not place.isascii():
        return f"not ASCII: {' '.join(sorted({letter for letter in place if not letter.isascii()}))}"
    if len(place) > MOST_BYTES:
        return f"{len(place)} letters, {MOST_BYTES} are the most"
    if not Path(place).is_absolute():
        return "not an absolute path"
    try:
        Path(place, "ray").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return str(error.strerror)
    return None if os.access(Path(place, "ray"), os.W_OK) else "cannot be written"


@contextmanager
def own_session() -> Iterator[list[subprocess.Popen[Any]]]:
    """Start Ray's processes in sessions of their own: a signal to the driver's group is for the driver, who ends them.

    Else SIGTERM from `timeout` or a shell takes Ray away under the trials, and the driver waits for it in vain. Where a
    start fails, what was started is ended. They die with the driver, by the kernel, on Linux alone; elsewhere Ray has a
    process for that, which knows them by their group.

    Yields:
        The processes, as they come to be started.
    """
    from ray._private import services  # Ray offers no public way

    launcher: Any = services.ConsolePopen
    started: list[subprocess.Popen[Any]] = []

    class Launcher(launcher):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "start_new_session": sys.platform.startswith("linux")})
            started.append(self)

    services.ConsolePopen = Launcher  # type: ignore[misc]
    try:
        yield started
    except BaseException:
        for process in started:
            process.kill()
        raise
    finally:
        services.ConsolePopen = launcher  # type: ignore[misc]


def program(process: subprocess.Popen[Any]) -> str:
    """Return the name of the program that a process was started with."""
    command: Any = process.args
    return Path(command[0]).name


@contextmanager
def watched(
    processes: Sequence[subprocess.Popen[Any]], gone: threading.Event, lost: Callable[[Exception], None]
) -> Iterator[None]:
    """Notice at once that a process of Ray's has ended, as where a batch system signals every process of a job.

    Ray itself looks for it for a minute, deaf to signals, and then ends the driver.

    Args:
        processes: Ray's own.
        gone: Set once one has ended: Ray is not to be asked any more, not even to shut down.
        lost: Called in the background then.
    """
    over = threading.Event()

    vital = [process for process in processes if program(process) in VITAL]

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            if any(process.poll() is not None for process in vital):
                gone.set()
                lost(ClusterError("ray: its processes on this machine were ended; the study can be resumed"))
                time.sleep(LEAVE_SECONDS)
                os._exit(INTERRUPTED)  # whatever still waits for Ray, in its library or at the interpreter's end

    threading.Thread(target=watch, name="kdstudy-ray", daemon=True).start()
    try:
        yield
    finally:
        over.set()
