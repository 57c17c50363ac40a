"""Hold a study while driving it, and stop in good order when told to."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kdstudy.errors import StoreError
from kdstudy.ledger import LEASE_SECONDS, Holder, Ledger
from kdstudy.search.progress import say


@contextmanager
def held(ledger: Ledger, study_id: str, holder: Holder) -> Iterator[None]:
    """Renew the hold in the background; the caller releases it."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 6):
            try:
                ledger.renew(study_id, holder)
            except StoreError as error:
                say(f"error: {error}")
                _thread.interrupt_main()
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
    """Treat SIGTERM as Ctrl-C: what is running goes back to the queue."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
