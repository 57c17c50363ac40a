"""Patience: trials that have ceased to improve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, final

from annotated_types import Ge

from kdstudy.search.pruners.base import Pruner, Scores, never


@final
class PatiencePruner(Pruner):
    """Stop a trial that has not improved for some epochs, unless it has the best score of its arm so far.

    The leader continues because only a trial that ran to its end can be confirmed. A learning rate that falls late
    (``cosine``) lets trials improve late: choose the epochs generously.

    Args:
        epochs: Epochs without a new best score of its own after which a trial stops.
        gain: By how much a score must exceed the best before it to count as improved, a fraction: 0.01 is one point.
    """

    def __init__(self, *, epochs: Annotated[int, Ge(1)] = 5, gain: Annotated[float, Ge(0)] = 0.0) -> None:
        self.epochs, self.gain = epochs, gain

    def stops(self, own: Scores, others: Sequence[Scores]) -> bool:
        """Return whether the trial waits for an improvement in vain, and another one leads."""
        best, since = float("-inf"), 0
        for epoch, score in sorted(own.items()):
            if score > best + self.gain:
                best, since = score, epoch
        leads = all(max(own.values()) >= max(scores.values()) for scores in others)
        return max(own) - since >= self.epochs and not leads

    @classmethod
    def problems(cls, options: Mapping[str, Any], *, epochs: int, trials: int | None) -> list[str]:
        """Object to more patience than a trial has epochs."""
        # The first epoch always improves, and after the last nothing is left to stop.
        return [never("epochs", epochs, options["epochs"])] if options["epochs"] >= epochs - 1 else []
