"""Folders on a disk or a mounted file system, and the folder that each machine keeps for itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from typing_extensions import override

from kdstudy.errors import StoreError
from kdstudy.settings import Settings
from kdstudy.storage.folder import Folder


@dataclass(frozen=True)
class DiskFolder(Folder):
    """A folder on a disk or a mounted file system.

    Args:
        path: Absolute, or relative to the working directory.
        marker: A file that must be there for any other to be written: else the empty place of a file system that
            is not mounted any more would be filled. None: folders are made as needed.
    """

    path: Path
    marker: Path | None = None

    def __str__(self) -> str:
        return str(self.path)

    @property
    @override
    def name(self) -> str:
        return self.path.name

    def __truediv__(self, name: str) -> DiskFolder:
        return DiskFolder(self.path / name, self.marker)

    @override
    def write(self, name: str, content: bytes) -> None:
        """Write a temporary file, flush it to the disk, and let it take the place of the old one."""
        path = self.path / name
        if self.marker is not None and path != self.marker and not self.marker.is_file():
            raise StoreError(f"{self.marker.parent}: the store has gone; mount or restore it, then `kdstudy resume`")
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise StoreError(
                f"{path}: cannot be written ({error.strerror}); free the disk or choose another --store"
            ) from error

    @override
    def read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{self.path / name}: cannot be read ({error.strerror}); check the disk") from error

    @override
    def files(self) -> list[str]:
        # Names with a dot in front are temporary files of writers that died.
        try:
            found = [path for path in self.path.rglob("*") if not path.name.startswith(".") and path.is_file()]
        except FileNotFoundError:  # removed meanwhile
            return []
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be listed ({error.strerror}); check the disk") from error
        return sorted(path.relative_to(self.path).as_posix() for path in found)

    @override
    def remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self.path / name).unlink()

    @override
    def clear(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    @override
    def on_disk(self, cache: Path) -> Path:
        """Return the folder itself: nothing is copied."""
        return self.path


def node_folder() -> Path:
    """Return the folder of this machine's own copies: ``KDSTUDY_CACHE``, else one in the temporary folder.

    Whatever is in it may be removed while no study runs.
    """
    given = Settings.read().cache
    return Path(given).absolute() if given else Path(tempfile.gettempdir()) / f"kdstudy-{os.getuid()}"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process of this machine at a time work on ``path``; its parent folder is made, for this user alone.

    Raises:
        StoreError: The parent cannot be used, or belongs to somebody else.
    """
    parent = path.parent
    try:
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if parent.stat().st_uid != os.getuid():
            raise StoreError(f"{parent}: belongs to another user; name a folder of your own by KDSTUDY_CACHE")
        lock = FileLock(parent / f".{path.name}.lock", mode=0o600)
        lock.acquire()
    except OSError as error:
        raise StoreError(
            f"{parent}: cannot be used ({error.strerror}); name another folder of this machine by KDSTUDY_CACHE"
        ) from error
    try:
        yield
    finally:
        lock.release()
