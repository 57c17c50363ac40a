"""One arm of one search: which of its trials there are, and which comes next."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property

from kdstudy.ledger import TrialRecord
from kdstudy.results import Phase
from kdstudy.search.budget import Budget
from kdstudy.study import Arm


@dataclass(frozen=True)
class Place:
    """Where a trial stands in its arm.

    Args:
        phase: ``search`` or ``confirm``.
        index: From 0 within arm and phase.
    """

    phase: Phase
    index: int


class ArmPlan:
    """The trials of one arm in one search, in order: as long as the budget lasts, then its confirmation seeds.

    Args:
        arm: The arm.
        position: Among the study's arms, from 0.
        budget: Of its search.
        startup: Search trials that see no results, and so never wait.
        lag: Search trials that may be in flight at once after those, at least 1.
        seeds: Confirmation seeds in all.
    """

    def __init__(self, arm: Arm, position: int, budget: Budget, *, startup: int, lag: int, seeds: int) -> None:
        self.arm, self.position, self.startup = arm, position, startup
        self._budget, self._lag = budget, lag
        self._search: dict[int, TrialRecord] = {}
        self._ended = 0
        self.confirms = deque(range(seeds))
        """Confirmation seeds that have not been handed out."""

    def note(self, trial: TrialRecord) -> None:
        """Take note of a trial of this arm that was handed out or has ended."""
        if trial.phase == "confirm":
            if trial.index in self.confirms:
                self.confirms.remove(trial.index)
            return
        self._search[trial.index] = trial
        for name in ("searched", "search_is_over"):
            self.__dict__.pop(name, None)

    @cached_property
    def searched(self) -> tuple[TrialRecord, ...]:
        """The search trials that have been handed out, in order."""
        found: list[TrialRecord] = []
        while len(found) in self._search:
            found.append(self._search[len(found)])
        return tuple(found)

    @cached_property
    def search_is_over(self) -> bool:
        """Whether every search trial that the budget allows has ended."""
        return self._budget.is_over(self.searched)

    @property
    def remaining(self) -> int:
        """How many search trials have not been handed out; where time is the budget, how many are expected."""
        return self._budget.remaining(self.searched)

    def may_search(self, index: int) -> bool:
        """Return whether search trial ``index``, which is not handed out yet, may start now."""
        if not self._budget.may_start(self.searched):
            return False
        return index < self.startup or index - self._lag < self._ended_from_first()

    def may_search_all(self, index: int, count: int) -> bool:
        """Return whether ``count`` trials from ``index`` on may start, or as many as there will be."""
        return all(self.may_search(each) for each in range(index, self._budget.last(index + count)))

    def visible(self, index: int) -> tuple[TrialRecord, ...]:
        """Return the trials whose results search trial ``index`` is proposed from."""
        if index < self.startup:
            return ()
        return tuple(t for t in self.searched if t.index <= index - self._lag and t.state != "failed")

    def _ended_from_first(self) -> int:
        """Return how many search trials have ended before the first that has not."""
        while self._ended in self._search and self._search[self._ended].done:
            self._ended += 1
        return self._ended
