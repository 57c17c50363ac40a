"""Pruners: rules that stop a search trial early. Only their options live here; the search applies them.

Pruning compares trials within one arm only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, final

from annotated_types import Ge


@final
@dataclass(frozen=True, kw_only=True)
class NoPruner:
    """Every trial runs all its epochs."""


@final
@dataclass(frozen=True, kw_only=True)
class AshaPruner:
    """Asynchronous successive halving: at each rung only the best trials of the arm go on.

    Source: Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning, arXiv 1810.05934.

    Args:
        grace: Epochs that every trial runs before it can be stopped; the first rung.
        reduction: At each rung about one trial in ``reduction`` goes on; rungs lie a factor ``reduction``
            apart.
    """

    grace: Annotated[int, Ge(1)] = 1
    reduction: Annotated[int, Ge(2)] = 3
