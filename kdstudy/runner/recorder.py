"""Takes the reports of trials: into the ledger first, then to whoever watches. In the background, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from kdstudy.cluster import StudyMetrics
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.runner.progress import Progress
from kdstudy.runner.writer import Scribe
from kdstudy.search import TrialPlanner
from kdstudy.storage import Store
from kdstudy.tracking import Publisher

SETTLE_SECONDS = 0.1
"""How long the next proposal waits for the ledger, each time that Tune asks: as long as Tune waits for a report."""


class Recording:
    """What Tune's callbacks and its searcher need of the record.

    Args:
        queue: Told of each trial that has ended, once the ledger has it.
        study_id: The study's ID in the ledger.
        capacity: Processes that the cluster holds at once; should it grow, more follow one by one.
        ledger: The record.
        store: Whose checkpoints of finished trials are removed.
        scribe: Does the writing.
        publisher: Told of each change.
        progress: Likewise.
        metrics: Likewise.
    """

    def __init__(  # noqa: PLR0913 - everybody who hears of a report
        self,
        queue: TrialPlanner,
        study_id: str,
        *,
        capacity: int,
        ledger: Ledger,
        store: Store,
        scribe: Scribe,
        publisher: Publisher,
        progress: Progress,
        metrics: StudyMetrics,
    ) -> None:
        self._queue, self._id, self._ledger, self._store = queue, study_id, ledger, store
        self._scribe, self._publisher, self._progress, self._metrics = scribe, publisher, progress, metrics
        self._capacity = capacity
        self._begun: set[int] = set()
        self._packs: list[set[int]] = []  # what was handed out and has not ended, by process
        # Numbers of trials whose end is not in the ledger yet, and the trials whose end the queue does not know yet.
        self._ending: set[int] = set()
        self._ended: deque[TrialRecord] = deque()

    def handed(self, numbers: Sequence[int]) -> None:
        """Take note that trials have been handed out, for one process."""
        self._packs.append(set(numbers))

    def started(self, number: int) -> None:
        """Take note that a trial runs (again)."""
        self._begun.add(number)

        def write() -> None:
            self._ledger.start_trial(self._id, number)
            self._publisher.notify(number)
            self._metrics.changed(replace(self._queue.trial(number), state="running"), self._queue.handed)

        self._scribe.put(write)

    def epoch(self, number: int, record: EpochRecord) -> None:
        """Take note of a trial's epoch."""

        def write() -> None:
            self._ledger.record_epoch(self._id, number, record)
            self._publisher.notify(number)
            trial = self._queue.trial(number)  # not read again: a long study has many epochs
            self._progress.epoch(trial, record)
            self._metrics.epoch(trial.arm, record)
            self._metrics.published(self._publisher.pending(), self._publisher.trouble())

        self._scribe.put(write)

    def ended(self, number: int, result: TrialResult) -> None:
        """Take note of how a trial ended."""
        total = self._queue.total  # here, since the queue is not the scribe's

        def write() -> None:
            self._ledger.finish_trial(self._id, number, result)
            trial = self._ledger.trial(self._id, number)
            self._publisher.notify(number)
            self._progress.ended(trial, total)
            self._metrics.changed(trial, self._queue.handed)
            if result.state != "failed":
                (self._store.trial(self._id, number) / "checkpoints").clear()
            self._ended.append(trial)
            self._ending.discard(number)

        self._out(number)
        self._ending.add(number)
        self._scribe.put(write)

    def lost(self, number: int) -> None:
        """Take note that Tune gave a trial up before it began: it is handed out again."""
        self._out(number)
        self._queue.again(number)

    def _out(self, number: int) -> None:
        self._begun.discard(number)
        for pack in self._packs:
            pack.discard(number)
        self._packs = [pack for pack in self._packs if pack]

    def settle(self) -> None:
        """Wait until the ledger has all that was reported, and tell the queue of every trial that has ended.

        Raises:
            Exception: What could not be written.
        """
        while not self._scribe.wait(1.0):
            self._scribe.complain()
        self.ready()

    def ready(self) -> bool:
        """Tell the queue of every trial that has ended; return whether more are to be handed out now.

        Not before the ledger has all that have ended. All that there is room for are handed out at once, so that their
        processes start side by side; after that one process's trials wait ahead, for the next that comes free.

        Raises:
            Exception: What could not be written.
        """
        if self._ending:
            # A ledger that is well takes milliseconds, and then the next trial is there before the process comes free;
            # else Tune would end the process, and start another one for the next trial.
            self._scribe.wait(SETTLE_SECONDS)
        self._scribe.complain()
        if self._ending:
            return False
        while self._ended:
            self._queue.ended(self._ended.popleft())
        return self.room or not any(pack.isdisjoint(self._begun) for pack in self._packs)

    @property
    def room(self) -> bool:
        """Whether a process has nothing to do, or another could be started."""
        return len(self._packs) < self._capacity
