"""The lease of a study: one process drives it at a time, known by its machine, its PID and when it started.

A row in the ledger rather than a lock of the database or a file: any reader must see who drives a study and since when,
SQLite has no lock that outlives a transaction, a PostgreSQL one ends with the connection, and drivers on two hosts
share no file.
"""

from __future__ import annotations

import os
import platform
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kdstudy.errors import StoreError

if TYPE_CHECKING:
    from kdstudy.ledger.ledger import Ledger

LEASE_SECONDS = 60.0
"""A lease that was not renewed for this long is stale. Renew it several times within."""


@dataclass(frozen=True)
class LeaseOwner:
    """A process that drives a study; build it with `LeaseOwner.here`.

    Args:
        host: The host's name, for people.
        pid: The process, as its own PID namespace counts.
        machine: Tells apart boots and PID namespaces: only within one of them does a PID mean anything.
        started: When the process started, by the kernel's count; empty where the system does not say. Tells a
            driver from a later process that was given the same PID.
        token: Tells apart two drivers in one process.
    """

    host: str
    pid: int
    machine: str
    started: str
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @classmethod
    def here(cls) -> LeaseOwner:
        """Return a new owner for this process."""
        pid = os.getpid()
        return cls(platform.node() or "unknown", pid, _machine(), _started(pid) or "")


@dataclass(frozen=True)
class Lease:
    """An owner's claim on one study.

    Args:
        owner: Who.
        since: When it was taken, UTC.
        renewed: When it was last renewed, by the ledger's clock, UTC.
    """

    owner: LeaseOwner
    since: datetime
    renewed: datetime

    def stale(self, now: datetime) -> bool:
        """Return whether its owner is gone: it died on this machine, or has been silent for a minute.

        Args:
            now: The ledger's clock, aware.
        """
        if (now - self.renewed).total_seconds() > LEASE_SECONDS:
            return True
        return self.owner.machine == _machine() and not _alive(self.owner)

    def __str__(self) -> str:
        since = self.since.isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")
        return f"process {self.owner.pid} on host {self.owner.host} since {since}"


@contextmanager
def keep_lease(ledger: Ledger, study_id: str, owner: LeaseOwner, lost: Callable[[StoreError], None]) -> Iterator[None]:
    """Renew the lease of a study in the background; the caller takes it before, and releases it after.

    Args:
        ledger: In which it is held.
        study_id: The study.
        owner: Whose lease it is.
        lost: Called in the background, once, if it cannot be renewed any more.
    """
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 6):
            try:
                ledger.renew_lease(study_id, owner)
            except StoreError as error:
                lost(error)
                return

    thread = threading.Thread(target=renew, name="kdstudy-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _machine() -> str:
    """Name what a PID is unique within: boot and PID namespace, or the host where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def _started(pid: int) -> str | None:
    """Return when a process started, in ticks since boot; empty if unknown, None if gone or a zombie."""
    try:
        # The second field, the command's name in parentheses, may itself hold spaces and parentheses.
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None if Path("/proc/self").exists() else ""
    fields = line.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _alive(owner: LeaseOwner) -> bool:
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _started(owner.pid) in ("", owner.started)
