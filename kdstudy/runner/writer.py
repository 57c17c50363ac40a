"""Writes the ledger in the background, in order: while a database restarts, reports are taken and trials go on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait


class Writer:
    """Does one piece of work after another, in a thread of its own.

    The first piece that fails is the last: nothing after it is done, and whoever gives more work gets the error. How
    long a piece tries before it fails is the ledger's business.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kdstudy-writer")
        self._last: Future[None] | None = None
        self._error: Exception | None = None

    def put(self, work: Callable[[], None]) -> None:
        """Have a piece of work done after all that was given before. Returns at once.

        Raises:
            Exception: What an earlier piece failed with.
        """
        self.raise_if_failed()
        self._last = self._executor.submit(self._do, work)

    def raise_if_failed(self) -> None:
        """Raise again what the first piece that failed has raised, if one has.

        Raises:
            Exception: That.
        """
        if self._error is not None:
            raise self._error

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to do, but not longer than so many seconds; return whether nothing is."""
        return self._last is None or not wait([self._last], timeout=seconds).not_done

    def close(self) -> None:
        """Wait until all is done, and end.

        Raises:
            Exception: What a piece failed with.
        """
        try:
            self._executor.shutdown()
        except BaseException:  # Ctrl-C: what has not begun is given up, or the process could not end
            self._executor.shutdown(wait=False, cancel_futures=True)
            raise
        self.raise_if_failed()

    def _do(self, work: Callable[[], None]) -> None:
        if self._error is not None:
            return
        try:
            work()
        except Exception as error:  # noqa: BLE001  raised again in the thread that gives the work
            self._error = error
