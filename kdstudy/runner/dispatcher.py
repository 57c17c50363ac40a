"""Hands trials out to the cluster and takes what it reports: into the ledger first, then to whoever watches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from kdstudy.cluster import TrialEnded, TrialEvent, TrialStarted
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.runner.observers import Counts, Observer, record
from kdstudy.runner.writer import Writer
from kdstudy.search import TrialPlanner

SETTLE_SECONDS = 0.1
"""How long the next proposal waits for the ledger, each time that Tune asks: as long as Tune waits for a report."""


class Dispatcher:
    """Between planner and cluster; implements `kdstudy.cluster.PackSource`.

    All but the writing happens in the caller's thread; the ledger and the observers are called in the writer's, in the
    order of the events. An event that the ledger does not take reaches no observer, and ends the study.

    Args:
        planner: Told of each trial that has ended, once the ledger has it.
        most: Search trials that one process may train, by transfer method.
        capacity: Processes that the cluster holds at once; should it grow, more follow one by one.
        ledger: Takes every event first.
        writer: Does the writing.
        observers: Told of every event that the ledger has.
    """

    def __init__(
        self,
        *,
        planner: TrialPlanner,
        most: Callable[[str], int],
        capacity: int,
        ledger: Ledger,
        writer: Writer,
        observers: Sequence[Observer],
    ) -> None:
        self._planner, self._most, self._capacity = planner, most, capacity
        self._ledger, self._writer, self._observers = ledger, writer, observers
        self._begun: set[int] = set()
        self._packs: list[set[int]] = []  # what was handed out and has not ended, by process
        # Numbers of trials whose end is not in the ledger yet, and the trials whose end the planner does not know yet.
        self._ending: set[int] = set()
        self._ended: deque[TrialRecord] = deque()

    def __len__(self) -> int:
        """Return how many trials have not been handed out."""
        return len(self._planner)

    def next_pack(self) -> list[TrialRecord]:
        """Return the trials of one process; none while all that remain must wait, or enough wait ahead.

        Raises:
            Exception: What could not be written.
        """
        if not self._is_ready():
            return []
        # While every process is busy there is time to wait until a pack is whole.
        pack = self._planner.pack(self._most, whole=not self._has_room())
        if pack:
            self._packs.append({trial.number for trial in pack})
        return pack

    def notify(self, event: TrialEvent) -> None:
        """Have an event written, and passed on, in the background.

        Raises:
            Exception: What could not be written earlier.
        """
        trial = self._planner.trial(event.number)
        counts = Counts(self._planner.handed, self._planner.total)  # here, since the planner is not the writer's
        if isinstance(event, TrialStarted):
            self._begun.add(event.number)
        elif isinstance(event, TrialEnded):
            self._forget(event.number)
            self._ending.add(event.number)
        self._writer.put(lambda: self._write(event, trial, counts))

    def give_back(self, number: int) -> None:
        """Take back a trial that never began: it is handed out again."""
        self._forget(number)
        self._planner.again(number)

    def settle(self) -> None:
        """Wait until the ledger has all that was reported, and tell the planner of every trial that has ended.

        Raises:
            Exception: What could not be written.
        """
        while not self._writer.wait(1.0):
            self._writer.raise_if_failed()
        self._tell_planner()

    def _write(self, event: TrialEvent, trial: TrialRecord, counts: Counts) -> None:
        trial = record(event, trial, self._ledger)
        for observe in self._observers:
            observe(event, trial, counts)
        if isinstance(event, TrialEnded):
            self._ended.append(trial)
            self._ending.discard(event.number)

    def _forget(self, number: int) -> None:
        self._begun.discard(number)
        for pack in self._packs:
            pack.discard(number)
        self._packs = [pack for pack in self._packs if pack]

    def _tell_planner(self) -> bool:
        """Tell the planner of every trial that has ended, once the ledger has all of them; return whether it has."""
        self._writer.raise_if_failed()
        if self._ending:
            return False
        while self._ended:
            self._planner.ended(self._ended.popleft())
        return True

    def _is_ready(self) -> bool:
        """Return whether more are to be handed out now.

        Not before the ledger has all that have ended. All that there is room for are handed out at once, so that their
        processes start side by side; after that one process's trials wait ahead, for the next that comes free.
        """
        if self._ending:
            # A ledger that is well takes milliseconds, and then the next trial is there before the process comes free;
            # else Tune would end the process, and start another one for the next trial.
            self._writer.wait(SETTLE_SECONDS)
        if not self._tell_planner():
            return False
        return self._has_room() or not any(pack.isdisjoint(self._begun) for pack in self._packs)

    def _has_room(self) -> bool:
        """Return whether a process has nothing to do, or another could be started."""
        return len(self._packs) < self._capacity
