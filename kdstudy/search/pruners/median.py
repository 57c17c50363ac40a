"""The median stopping rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, final

from annotated_types import Ge

from kdstudy.search.pruners.base import Pruner, Scores, never


@final
class MedianPruner(Pruner):
    """Stop a trial whose best score so far lies below the median of what the arm's trials averaged up to there.

    Trials that have not come as far do not count.

    Source: Golovin et al. 2017, Google Vizier: A Service for Black-Box Optimization, KDD, section 3.2.2, as Ray Tune
    has it: running trials count as well as those that have ended.

    Args:
        grace: Epochs that every trial runs before it can be stopped; earlier ones are left out of the averages.
        trials: Others of the arm that must have come as far before any is stopped.
    """

    def __init__(self, *, grace: Annotated[int, Ge(1)] = 1, trials: Annotated[int, Ge(1)] = 3) -> None:
        self.grace, self.trials = grace, trials

    def stops(self, own: Scores, others: Sequence[Scores]) -> bool:
        """Return whether the trial's best score lies below the median of the others' averages."""
        import numpy as np

        epoch = max(own)
        if epoch < self.grace:
            return False
        averages = [
            np.mean([score for at, score in scores.items() if self.grace <= at <= epoch])
            for scores in others
            if max(scores) >= epoch
        ]
        return len(averages) >= self.trials and bool(max(own.values()) < np.median(averages))

    @classmethod
    def problems(cls, options: Mapping[str, Any], *, epochs: int, trials: int | None) -> list[str]:
        """Object to options under which no trial is ever stopped."""
        found = [never("grace", epochs, options["grace"])] if options["grace"] >= epochs else []
        if trials is not None and options["trials"] >= trials:
            found.append(
                f"trials: must be below the search trials of an arm, {trials}, for any to be stopped, got "
                f"{options['trials']}; lower it, or write none"
            )
        return found
