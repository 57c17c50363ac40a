"""A cache of tensors in files that many processes share: each made once, whole or not at all, and verified before use.

A cache is a folder of numbered files in the safetensors format, memory-mapped when they are read. The first process
that needs a missing file makes it under a lock; one that finds it locked makes a file that it will need later. A
process that dies leaves no lock behind. Everything may be deleted at any time: what is missing is made again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import final

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from kdstudy.data import tensors_sha256
from kdstudy.errors import StoreError
from kdstudy.storage import DiskFolder

Tensors = dict[str, Tensor]

PREFIX = "targets-"
POLL_SECONDS = 0.05
IN_USE_SECONDS = 600.0
"""A cache read so recently is not evicted for another one."""

log = logging.getLogger(__name__)
_verified: set[tuple[str, int, int]] = set()


@final
class TensorFileCache:
    """One folder of files that belong together: ``ROOT/STUDY/targets-KEY``, created at the first write.

    Args:
        study: ``ROOT/STUDY``: what the trials of a study share.
        key: Hash of all that the files depend on.
        max_bytes: Of the caches of all studies below the root, together.
    """

    def __init__(self, study: Path, key: str, max_bytes: int) -> None:
        self.folder, self._max_bytes = study / f"{PREFIX}{key}", max_bytes
        self._root = study.parent

    @property
    def trusted(self) -> bool:
        """Whether nobody else can have put files there: another user's folder is not read."""
        return not self._root.exists() or self._root.stat().st_uid == os.getuid()

    def get(self, name: str, make: Callable[[str], Tensors], *, ahead: Iterable[str] = ()) -> Tensors:
        """Return the tensors called ``name``, on the CPU, making them if they are not there.

        Args:
            name: Of the file.
            make: Called with a name; depends on it alone.
            ahead: Names that will be needed later: made one by one while another process makes ``name``.
        """
        later = iter(ahead)
        while True:
            found = read(self._path(name))
            if found is not None:
                with contextlib.suppress(OSError):
                    os.utime(self.folder)
                return found
            made = self._make(name, make)
            if made is not None:
                return made
            ours = next((other for other in later if not self._path(other).exists()), None)
            if ours is None:
                time.sleep(POLL_SECONDS)
            else:
                self._make(ours, make)

    def holds(self, name: str) -> bool:
        """Return whether a file is there, whole or not."""
        return self._path(name).exists()

    def note(self, name: str, measure: Callable[[], int]) -> int:
        """Return the number kept as ``name``, measuring it where it is not there."""
        path = self.folder / f"{name}.txt"
        try:
            return int(path.read_text())
        except (OSError, ValueError):
            number = measure()
        with contextlib.suppress(StoreError):
            DiskFolder(self.folder).write(path.name, str(number).encode())
        return number

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def _make(self, name: str, make: Callable[[str], Tensors]) -> Tensors | None:
        """Make and keep a file, or return None because another process is making it."""
        path = self._path(name)
        with _locked(path) as ours:
            if not ours:
                return None
            found = read(path)
            if found is not None:
                return found
            made = {key: value.cpu().contiguous() for key, value in make(name).items()}
            self._keep(path, made)
            return read(path) or made

    def _keep(self, path: Path, tensors: Tensors) -> None:
        content = save(tensors, metadata={"sha256": tensors_sha256(tensors)})
        try:
            # One writer at a time, or the room would be counted twice.
            with FileLock(self._root / ".kdstudy-room.lock"):
                if self._has_room(len(content)):
                    DiskFolder(self.folder).write(path.name, content)
                else:
                    log.warning(
                        "%s: not kept, the cache is full of what is in use; raise cache.max_bytes",
                        path,
                        extra={"plain": True},
                    )
        except (StoreError, OSError) as error:  # a full disk costs time, not the trial
            log.warning("%s; continuing without keeping it", error, extra={"plain": True})

    def _has_room(self, size: int) -> bool:
        """Evict caches that nobody reads, the longest unread first, until ``size`` bytes fit."""
        folders = sorted(self._root.glob(f"*/{PREFIX}*"), key=lambda folder: folder.stat().st_mtime)
        files = {folder: list(folder.glob("*.safetensors")) for folder in folders}
        sizes = {folder: sum(file.stat().st_size for file in found) for folder, found in files.items()}
        free = self._max_bytes - sum(sizes.values())
        for folder in folders:
            if free >= size:
                break
            if folder != self.folder and folder.stat().st_mtime < time.time() - IN_USE_SECONDS:
                free += sizes[folder]
                for file in files[folder]:
                    file.unlink(missing_ok=True)
        return free >= size


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold the lock of one file, if it is free; where the disk allows none, continue without."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    except OSError:
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def read(path: Path) -> Tensors | None:
    """Return the tensors of a file, memory-mapped; None where it is missing, cut short or altered."""
    try:
        status = path.stat()
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- no mapping
            expected = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    identity = (str(path), status.st_mtime_ns, status.st_size)
    if identity not in _verified:
        if tensors_sha256(tensors) != expected:
            return None
        _verified.add(identity)
    return tensors
