"""Takes the reports of trials: into the ledger first, then to whoever watches. In the background, in order."""

from __future__ import annotations

from collections import deque

from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.search.metrics import StudyMetrics
from kdstudy.search.progress import Progress
from kdstudy.search.queue import TrialQueue
from kdstudy.search.scribe import Scribe
from kdstudy.store import Store
from kdstudy.tracking import Publisher


class Recording:
    """What Tune's callbacks and its searcher need of the record.

    Args:
        queue: Told of each trial that has ended, once the ledger has it.
        study_id: The study's ID in the ledger.
        ledger: The record.
        store: Whose checkpoints of finished trials are removed.
        scribe: Does the writing.
        publisher: Told of each change.
        progress: Likewise.
        metrics: Likewise.
    """

    def __init__(  # noqa: PLR0913 - everybody who hears of a report
        self,
        queue: TrialQueue,
        study_id: str,
        *,
        ledger: Ledger,
        store: Store,
        scribe: Scribe,
        publisher: Publisher,
        progress: Progress,
        metrics: StudyMetrics,
    ) -> None:
        self._queue, self._id, self._ledger, self._store = queue, study_id, ledger, store
        self._scribe, self._publisher, self._progress, self._metrics = scribe, publisher, progress, metrics
        # Numbers of trials whose end is not in the ledger yet, and the trials whose end the queue does not know yet.
        self._ending: set[int] = set()
        self._ended: deque[TrialRecord] = deque()

    def started(self, number: int) -> None:
        """Take note that a trial runs (again)."""

        def write() -> None:
            self._ledger.start_trial(self._id, number)
            self._publisher.notify(number)
            self._metrics.changed(self._ledger.trials(self._id))

        self._scribe.put(write)

    def epoch(self, number: int, record: EpochRecord) -> None:
        """Take note of a trial's epoch."""

        def write() -> None:
            self._ledger.record_epoch(self._id, number, record)
            self._publisher.notify(number)
            trial = self._ledger.trial(self._id, number)
            self._progress.epoch(trial, record)
            self._metrics.epoch(trial.arm, record)
            self._metrics.published(self._publisher.pending(), self._publisher.trouble())

        self._scribe.put(write)

    def ended(self, number: int, result: TrialResult) -> None:
        """Take note of how a trial ended."""

        def write() -> None:
            self._ledger.finish_trial(self._id, number, result)
            trial = self._ledger.trial(self._id, number)
            self._publisher.notify(number)
            self._progress.ended(trial)
            self._metrics.changed(self._ledger.trials(self._id))
            if result.state != "failed":
                (self._store.trial(self._id, number) / "checkpoints").clear()
            self._ended.append(trial)
            self._ending.discard(number)

        self._ending.add(number)
        self._scribe.put(write)

    def settled(self) -> bool:
        """Tell the queue of every trial that has ended; return whether the ledger has them all.

        Raises:
            Exception: What could not be written.
        """
        self._scribe.complain()
        if self._ending:
            return False
        while self._ended:
            self._queue.ended(self._ended.popleft())
        return True
