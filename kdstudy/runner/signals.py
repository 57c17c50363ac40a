"""Shut a study down cleanly on SIGTERM: at once, or with time for its trials to reach a checkpoint."""

from __future__ import annotations

import _thread
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kdstudy.settings import Settings

log = logging.getLogger(__name__)

NOW = signal.SIGUSR1
"""As Ctrl-C, also where SIGINT is ignored, as it is in a shell script's background jobs."""


def interrupt_study(error: Exception) -> None:
    """Have the main thread stop as by Ctrl-C, from another thread, and say why."""
    log.error(str(error))
    _thread.interrupt_main(NOW)


@contextmanager
def terminable() -> Iterator[None]:
    """Treat SIGTERM, outside of `preemptible`, and `NOW` as Ctrl-C: what is running goes back to the queue."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, NOW)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def preemptible() -> Iterator[Callable[[], bool]]:
    """Give trials time after SIGTERM: at first only the flag is set that is yielded as a function.

    ``KDSTUDY_GRACE`` seconds later, or at a second SIGTERM, it is as Ctrl-C.
    """
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping.is_set
        return
    grace = Settings.read().grace_seconds
    timer = threading.Timer(grace, _thread.interrupt_main, [NOW])
    timer.daemon = True

    def note(_signal: int, _frame: object) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()
        timer.start()
        log.info(f"stop requested: trials end at their next checkpoint, within {grace:g} s")

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield stopping.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
        timer.cancel()
