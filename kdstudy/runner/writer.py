"""Writes the ledger in the background, in order: while a database restarts, reports are taken and trials go on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Scribe:
    """A thread that does one piece of work after another.

    A piece that fails ends it: nothing after it is done, and whoever gives it more work gets the error. How long a
    piece tries before it fails is the ledger's business.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | threading.Event | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="kdstudy-scribe", daemon=True)
        self._thread.start()

    def put(self, work: Callable[[], None]) -> None:
        """Have a piece of work done after all that was given before. Returns at once.

        Raises:
            Exception: What an earlier piece failed with.
        """
        self.complain()
        self._work.put(work)

    def complain(self) -> None:
        """Do nothing, unless a piece has failed.

        Raises:
            Exception: What it failed with.
        """
        if self._error is not None:
            raise self._error

    def wait(self, seconds: float) -> bool:
        """Wait until all that was given before is done, but not longer; return whether it is."""
        done = threading.Event()
        self._work.put(done)
        return done.wait(seconds)

    def close(self) -> None:
        """Wait until all is done, and end.

        Raises:
            Exception: What a piece failed with.
        """
        self._work.put(None)
        self._thread.join()
        self.complain()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            if isinstance(work, threading.Event):
                work.set()
                continue
            try:
                work()
            except Exception as error:  # noqa: BLE001  raised again in the thread that gives the work
                self._error = error
                return
