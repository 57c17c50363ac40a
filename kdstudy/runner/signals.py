"""Hold a study while driving it, and stop in good order when told to."""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kdstudy.errors import StoreError
from kdstudy.ledger import LEASE_SECONDS, LeaseOwner, Ledger
from kdstudy.runner.progress import say

GRACE_SECONDS = 20.0
"""How long after SIGTERM trials may take to reach a safe point: less than the 30 s that Kubernetes gives."""
NOW = signal.SIGUSR1
"""As Ctrl-C, also where SIGINT is ignored, as it is in a shell script's background jobs."""


@contextmanager
def held(ledger: Ledger, study_id: str, owner: LeaseOwner) -> Iterator[None]:
    """Renew the hold in the background; the caller releases it."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 6):
            try:
                ledger.renew_lease(study_id, owner)
            except StoreError as error:
                say(f"error: {error}")
                _thread.interrupt_main(NOW)
                return

    thread = threading.Thread(target=renew, name="kdstudy-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


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
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told.is_set
        return
    try:
        grace = float(os.environ.get("KDSTUDY_GRACE", GRACE_SECONDS))
    except ValueError as error:
        raise StoreError(
            f"KDSTUDY_GRACE: not a number of seconds, got '{os.environ['KDSTUDY_GRACE']}'; write one, or unset it"
        ) from error
    timer = threading.Timer(grace, _thread.interrupt_main, [NOW])
    timer.daemon = True

    def note(_signal: int, _frame: object) -> None:
        if told.is_set():
            raise KeyboardInterrupt
        told.set()
        timer.start()
        say(f"told to stop: trials end at their next checkpoint, within {grace:g} s")

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield told.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
        timer.cancel()
