"""Asynchronous successive halving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, final

from annotated_types import Ge

from kdstudy.search.pruners.base import Pruner, Scores, never


@final
class AshaPruner(Pruner):
    """Asynchronous successive halving: at each rung only the best trials of the arm continue.

    At a rung a trial stops if its score lies below the quantile 1 - 1/``reduction`` of those that were there before it.
    The first to reach a rung continues.

    Source: Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning, arXiv 1810.05934, as Ray Tune has it.

    Args:
        grace: Epochs that every trial runs before it can be stopped; the first rung.
        reduction: At each rung about one trial in ``reduction`` continues; rungs lie a factor ``reduction`` apart.
    """

    def __init__(self, *, grace: Annotated[int, Ge(1)] = 1, reduction: Annotated[int, Ge(2)] = 3) -> None:
        self.grace, self.reduction = grace, reduction

    def stops(self, own: Scores, others: Sequence[Scores]) -> bool:
        """Return whether the last epoch is a rung that the trial does not pass."""
        import numpy as np

        epoch = max(own)
        rung = self.grace
        while rung < epoch:
            rung *= self.reduction
        before = [scores[epoch] for scores in others if epoch in scores]
        if epoch != rung or not before:
            return False
        return bool(own[epoch] < np.percentile(before, (1 - 1 / self.reduction) * 100))

    @classmethod
    def problems(cls, options: Mapping[str, Any], *, epochs: int, trials: int | None) -> list[str]:
        """Object to a first rung that no trial reaches before its end."""
        return [never("grace", epochs, options["grace"])] if options["grace"] >= epochs else []
