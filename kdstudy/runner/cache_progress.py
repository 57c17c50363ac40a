"""Reports progress of the shared teacher-output cache, while trials fill it.

Each trial makes the file that it needs next and finds missing, so nobody but the disk knows how far they all are. It
is this machine's cache that is looked at: other nodes of a cluster have their own.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

SECONDS = 30.0


class CacheProgress:
    """While it is open, logs a line every half minute in which there have come to be more files.

    Args:
        study: The folder of the study's shelves, whether it exists or not.
        files: Most files of one shelf: of one transfer and, but under ``all_views``, one data seed.
        seconds: Between two looks.
    """

    def __init__(self, study: Path, files: int, *, seconds: float = SECONDS) -> None:
        self._study, self._files, self._seconds = study, files, seconds
        self._said = self._made()[0]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="kdstudy-cache-progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._seconds):
            made, planned = self._made()
            if made > self._said:
                log.info(f"cache: {made} of up to {planned} files of teacher outputs written")
            self._said = made

    def _made(self) -> tuple[int, int]:
        """Return how many files there are, and how many the shelves that were begun can come to hold."""
        shelves = list(self._study.glob("targets-*"))
        made = sum(1 for shelf in shelves for _ in shelf.glob("*.safetensors"))
        return made, max(made, len(shelves) * self._files)
