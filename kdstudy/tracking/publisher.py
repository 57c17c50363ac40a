"""`Publisher` sends to MLflow, in the background, what the ledger records; while MLflow is away, runs wait there."""

from __future__ import annotations

import logging
import threading
import time

from kdstudy.errors import StoreError
from kdstudy.ledger import Ledger, Publication, StudyRecord
from kdstudy.tracking.client import RejectedError
from kdstudy.tracking.tracker import Tracker

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 60.0
# Waits this long after a notice, so that a burst of epochs becomes one request.
GATHER_SECONDS = 0.5

log = logging.getLogger(__name__)


class Publisher:
    """A thread that brings trials' runs up to date. It never blocks or fails the caller.

    What could not be published stays pending and is tried again, 1 s later, then 2 s, up to a minute. What is
    still pending when the process ends is published by the next `catch_up` on the same study.

    Args:
        tracker: From now on used by this thread only, until `close` returned.
        ledger: Says what to publish, and notes what was.
        study_id: The study; its run is opened first, and noted in the ledger's ``tracking``.
        gather: Seconds to wait for more notices before publishing.
    """

    def __init__(self, tracker: Tracker, ledger: Ledger, study_id: str, *, gather: float = GATHER_SECONDS) -> None:
        self._tracker = tracker
        self._ledger = ledger
        self._study_id = study_id
        self._gather = gather
        self._changed = threading.Condition()
        self._pending: dict[int, None] = {}  # trial numbers in order of notice
        self._busy: int | None = None
        self._refused: dict[int, str] = {}
        self._closing = False
        self._study: StudyRecord | None = None  # once its run is open
        self._trouble: str | None = None
        # A daemon: a request that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="kdstudy-publisher", daemon=True)
        self._thread.start()

    def notify(self, number: int) -> None:
        """Note that the trial has changed. Returns at once."""
        with self._changed:
            self._pending[number] = None
            self._changed.notify_all()

    def catch_up(self, *, everything: bool = False) -> None:
        """Publish what the ledger knows and the server may not.

        Args:
            everything: Look at every trial on the server, rather than trust the ledger's note of what was
                published: for a server that has lost its data.
        """
        if everything:
            numbers = [trial.number for trial in self._ledger.trials(self._study_id)]
        else:
            numbers = list(self._ledger.unpublished(self._study_id))
        for number in numbers:
            self.notify(number)

    def pending(self) -> int:
        """Return how many runs are not up to date on the server: the study's own, and those of trials."""
        with self._changed:
            waiting = {*self._pending, *self._refused}
            waiting |= set() if self._busy is None else {self._busy}
            return len(waiting) + (self._study is None)

    def trouble(self) -> str | None:
        """Return the last error in one line; None when the last attempt went well."""
        with self._changed:
            return self._trouble

    def close(self, timeout: float) -> int:
        """Publish what is left, without back-off, and stop.

        Args:
            timeout: Seconds, at least 0: longer is not waited.

        Returns:
            How many runs are not up to date on the server; what they lack stays in the ledger.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        return self.pending()

    def _run(self) -> None:
        delay = 0.0
        while self._wait(delay):
            failed = not self._open()
            for number in [] if failed else self._take():
                failed = not self._publish(number) or failed
                if failed:
                    break
            delay = min(max(2 * delay, FIRST_RETRY_SECONDS), LAST_RETRY_SECONDS) if failed else 0.0
            with self._changed:
                if self._closing and (failed or not self._pending):
                    return

    def _open(self) -> bool:
        """Open the study's run; return whether to go on with its trials."""
        if self._study is not None:
            return True
        try:
            tracking = self._tracker.open_study(self._ledger.study(self._study_id))
            self._ledger.update_study(self._study_id, tracking=tracking)
            study = self._ledger.study(self._study_id)
        except StoreError as error:
            self._set_trouble(str(error))
            return False
        except Exception as error:  # noqa: BLE001  the thread must outlive whatever it meets
            self._set_trouble(f"{type(error).__name__}: {error}")
            return False
        with self._changed:
            self._study = study
        self._set_trouble(None)
        return True

    def _wait(self, delay: float) -> bool:
        """Wait for work, then for the delay; return False when closing with nothing left to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closing or self._study is None)
            until = time.monotonic() + max(delay, self._gather)
            self._changed.wait_for(lambda: self._closing, max(0.0, until - time.monotonic()))
            return bool(self._pending) or self._study is None

    def _take(self) -> list[int]:
        with self._changed:
            return list(self._pending)

    def _publish(self, number: int) -> bool:
        """Publish one trial; return whether to go on with the next."""
        with self._changed:
            self._pending.pop(number, None)  # before reading, so that a change from now on is noticed again
            self._busy = number
        try:
            self._send(number)
        except RejectedError as error:
            self._note(number, str(error), refused=True)
        except StoreError as error:
            self._note(number, str(error), refused=False)
            return False
        except Exception as error:  # noqa: BLE001  the thread must outlive whatever it meets
            self._note(number, f"{type(error).__name__}: {error}", refused=True)
        else:
            self._note(number, None, refused=False)
        return True

    def _send(self, number: int) -> None:
        assert self._study is not None
        trial = self._ledger.trial(self._study_id, number)
        if trial.state == "queued" and trial.published.run_id is None:
            return  # nothing to show yet
        epochs = self._ledger.epochs(self._study_id, number)
        run_id, epoch = self._tracker.publish_trial(self._study, trial, epochs)
        self._ledger.mark_published(self._study_id, number, Publication(run_id, epoch, trial.state))

    def _note(self, number: int, trouble: str | None, *, refused: bool) -> None:
        """Record how an attempt ended."""
        with self._changed:
            self._busy = None
            if trouble is None:
                self._refused.pop(number, None)
            elif refused:
                self._refused[number] = trouble
            else:
                self._pending.setdefault(number, None)
        self._set_trouble(trouble)

    def _set_trouble(self, trouble: str | None) -> None:
        """Note the last error, or that there is none; warn when trouble begins."""
        with self._changed:
            before, self._trouble = self._trouble, trouble
        if trouble is not None and before is None:
            log.warning("%s; training goes on, and the record is kept", trouble, extra={"plain": True})
