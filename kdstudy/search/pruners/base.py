"""`Pruner`: stops poor search trials, as a pure function of what the trials of one arm and search have reported.

A pruner keeps no state, so an interrupted study prunes on from its record as if nothing had happened. Ray Tune's own
schedulers keep theirs with its trials, which end with the driver; ``asha`` and ``median`` decide as those do
(`tests/search/pruners/test_pruners.py`). Optuna's follow other rules: its median is over scores at one epoch, not over
averages up to there (168 of 1,000 decisions on made-up learning curves differ), and its halving reads rungs that its
own run has noted in each trial, which a record does not have. Trials of other arms are never seen, and confirmation is
never pruned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

Scores = Mapping[int, float]
"""A trial's validation score in [0, 1] after each epoch, from 1."""


class Pruner(ABC):
    """Stops poor search trials. Subclasses take keyword-only options."""

    @abstractmethod
    def stops(self, own: Scores, others: Sequence[Scores]) -> bool:
        """Return whether a trial stops after its last epoch so far: a pure function of the arguments.

        Args:
            own: The trial's scores, at least one.
            others: What the arm's other search trials have reported up to now, each at least one score.
        """

    @classmethod
    def problems(cls, options: Mapping[str, Any], *, epochs: int, trials: int | None) -> list[str]:
        """Return what is wrong with these options together, ``option: message`` each; empty if nothing is.

        Args:
            options: Plain values, all of them.
            epochs: Of the longest trial.
            trials: Search trials of each arm; None where their number is not fixed.
        """
        return []


def never(option: str, epochs: int, got: int) -> str:
    """Return the objection to an option under which no trial of ``epochs`` epochs would be stopped."""
    return f"{option}: no trial of at most {epochs} epoch(s) would ever be stopped, got {got}; lower it, or write none"
