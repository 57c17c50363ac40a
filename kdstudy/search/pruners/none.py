"""No pruning: the control for every other pruner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from kdstudy.search.pruners.base import Pruner, Scores


@final
class NoPruner(Pruner):
    """Every trial runs all its epochs, however poor it is."""

    def stops(self, own: Scores, others: Sequence[Scores]) -> bool:
        """Return False."""
        return False
