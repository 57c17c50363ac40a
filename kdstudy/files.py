"""Files that are never half-written."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from kdstudy.errors import StoreError


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds either the old bytes or all the new ones, whatever dies.

    Raises:
        StoreError: The folder cannot be written or the disk is full.
    """
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
            f"{path}: cannot be written ({error.strerror}); free the disk, or choose another place"
        ) from error
