"""How much an arm may search each time: a number of trials, or its share of the hours that trials take.

An hour of a budget is an hour of a trial's own epochs, wherever and beside how many others it ran. Arms and searches
share it equally, and each runs one trial at least. An arm starts no trial while those in flight, at the mean price of
those that have ended, use up its share.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from kdstudy.ledger import TrialRecord
from kdstudy.study import Study

MAX_FAILURES = 10
"""An arm whose last so many trials all failed starts no more: failures may take no time, and would go on for ever."""


class Budget(ABC):
    """What the search of each arm may cost. ``trials`` are always one arm's search trials so far, in order."""

    @abstractmethod
    def may_start(self, trials: Sequence[TrialRecord]) -> bool:
        """Return whether the arm may start a further trial now."""

    @abstractmethod
    def expected(self, trials: Sequence[TrialRecord]) -> int:
        """Return how many trials the arm's search will have at its end, as far as can be said now."""

    @abstractmethod
    def remaining(self, trials: Sequence[TrialRecord]) -> int:
        """Return how many further trials are expected; at least 1 while the search is not over."""

    @abstractmethod
    def last(self, index: int) -> int:
        """Return the end of a range of indices, ``index`` at most, that the search may have."""

    @abstractmethod
    def numbers(self, searches: Sequence[Sequence[TrialRecord]]) -> int | None:
        """Return how many numbers each arm's search takes; None while that is not known."""

    def is_over(self, trials: Sequence[TrialRecord]) -> bool:
        """Return whether the arm's search has ended."""
        return all(trial.done for trial in trials) and not self.may_start(trials)


@final
@dataclass(frozen=True)
class CountBudget(Budget):
    """So many trials of each arm.

    Args:
        trials: At least 1.
    """

    trials: int

    def may_start(self, trials: Sequence[TrialRecord]) -> bool:
        """Return whether the count is not reached."""
        return len(trials) < self.trials

    def expected(self, trials: Sequence[TrialRecord]) -> int:
        """Return the count."""
        return self.trials

    def remaining(self, trials: Sequence[TrialRecord]) -> int:
        """Return what is left of the count."""
        return self.trials - len(trials)

    def last(self, index: int) -> int:
        """Return the count where it is smaller."""
        return min(index, self.trials)

    def numbers(self, searches: Sequence[Sequence[TrialRecord]]) -> int | None:
        """Return the count: it is known from the start."""
        return self.trials


@final
@dataclass(frozen=True)
class TimeBudget(Budget):
    """So many seconds of each arm's trials.

    Args:
        seconds: Of all its search trials together.
    """

    seconds: float

    def may_start(self, trials: Sequence[TrialRecord]) -> bool:
        """Return whether the trials so far, those in flight at the mean price of the others, leave some time."""
        ended = [trial for trial in trials if trial.done]
        if not ended:
            return True
        if len(ended) >= MAX_FAILURES and all(trial.state == "failed" for trial in ended[-MAX_FAILURES:]):
            return False
        return _mean(ended) * len(trials) < self.seconds

    def expected(self, trials: Sequence[TrialRecord]) -> int:
        """Return what the time buys at the mean price so far."""
        if self.is_over(trials):
            return len(trials)
        ended = [trial for trial in trials if trial.done]
        mean = _mean(ended) if ended else 0.0
        return max(1, len(trials), math.ceil(self.seconds / mean) if mean > 0 else 0)

    def remaining(self, trials: Sequence[TrialRecord]) -> int:
        """Return what the rest of the time buys."""
        return 0 if self.is_over(trials) else max(1, self.expected(trials) - len(trials))

    def last(self, index: int) -> int:
        """Return ``index``: there is no end that is known beforehand."""
        return index

    def numbers(self, searches: Sequence[Sequence[TrialRecord]]) -> int | None:
        """Return the length of the longest search, once all are over."""
        if not all(self.is_over(trials) for trials in searches):
            return None
        return max(len(trials) for trials in searches)


def budget_of(study: Study) -> Budget:
    """Return what one search of each arm of a study may cost."""
    if study.search.trials_per_arm is not None:
        return CountBudget(study.search.trials_per_arm)
    budget, shares = study.search.budget or {}, len(study.arms) * study.confirm.searches
    if "gpu_hours" in budget:
        return TimeBudget(3600 * budget["gpu_hours"] / study.resources.all_gpus / shares)
    return TimeBudget(3600 * budget["hours"] / shares)


def _mean(ended: Sequence[TrialRecord]) -> float:
    return sum(trial.seconds for trial in ended) / len(ended)
