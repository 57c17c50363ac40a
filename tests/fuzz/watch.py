"""Sees, by Python's audit events, what code does to the machine: files changed, programs started, modules imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Events that change the files their arguments name, and how many arguments do.
CHANGES = {
    "os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2, "os.chmod": 1,
    "os.chown": 1, "os.truncate": 1, "shutil.rmtree": 1, "shutil.move": 2,
}  # fmt: skip
STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "pty.spawn")
READERS = ("git", "uname")
"""Programs that may be started, to say with what code and on what machine a study ran."""

_seen: list[tuple[str, tuple[Any, ...]]] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and (event in CHANGES or event in STARTS or event in ("open", "import")):
        _seen.append((event, arguments))


sys.addaudithook(_hook)


@contextmanager
def watched(*allowed: Path, stranger: str) -> Iterator[list[str]]:
    """Give a list that holds, at the end, everything done outside the ``allowed`` folders.

    Args:
        allowed: Folders in which files may be changed.
        stranger: First part of the names of modules that must not be imported.
    """
    global _seen  # noqa: PLW0603  an audit hook can be neither removed nor given state
    faults: list[str] = []
    _seen = seen = []
    try:
        yield faults
    finally:
        _seen = None
    for event, arguments in seen:
        faults += _judge(event, arguments, allowed, stranger)


def _judge(event: str, arguments: tuple[Any, ...], allowed: tuple[Path, ...], stranger: str) -> list[str]:
    if event == "import":
        return [f"import {arguments[0]}"] if str(arguments[0]).startswith(stranger) else []
    if event in STARTS:
        program = Path(os.fsdecode(arguments[0])).name if event == "subprocess.Popen" else ""
        return [] if program in READERS else [f"{event} {arguments}"]
    if event == "open":
        path, _, flags = arguments
        changed = [path] if isinstance(flags, int) and flags & WRITES else []
    else:
        changed = list(arguments[: CHANGES[event]])
    return [f"{event} {path}" for path in changed if not _within(path, allowed)]


def _within(path: Any, allowed: tuple[Path, ...]) -> bool:
    if isinstance(path, int):
        return True
    place = Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100  not resolved: it may be gone by now
    return (
        place == Path(os.devnull)
        or "__pycache__" in place.parts
        or any(place.is_relative_to(folder) for folder in allowed)
    )
