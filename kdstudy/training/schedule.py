"""Learning-rate schedules: a factor in (0, 1] on the base rate, a pure function of training progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, MinLen

from kdstudy.plugins import SCHEDULES


def cosine(progress: float, epochs: int) -> float:
    """Return the half-cosine from 1 at the first step to 0 after the last (Loshchilov & Hutter 2017, no restarts).

    Args:
        progress: Epochs done, a fraction inside an epoch.
        epochs: Epochs in all.
    """
    return 0.5 * (1 + math.cos(math.pi * progress / epochs))


def constant(progress: float, epochs: int) -> float:
    """Return 1: the base rate throughout.

    Args:
        progress: Epochs done.
        epochs: Epochs in all.
    """
    return 1.0


def multistep(
    progress: float,
    epochs: int,
    *,
    milestones: Annotated[list[Annotated[int, Ge(1)]], MinLen(1)],
    gamma: Annotated[float, Gt(0), Le(1)] = 0.1,
) -> float:
    """Return ``gamma`` to the power of the milestones passed.

    Args:
        progress: Epochs done.
        epochs: Epochs in all.
        milestones: Epochs after which the rate drops, e.g. 150, 180, 210 of 240.
        gamma: Factor at each.
    """
    return float(gamma ** sum(progress >= milestone for milestone in milestones))


WARM_UP_FROM = 0.01
"""Share of the rate with which a warm-up begins, as in torchvision's reference training."""


def schedule(name: str, options: Mapping[str, Any], epochs: int, warmup: int = 0) -> Callable[[float], float]:
    """Return the factor as a function of epochs done.

    Args:
        name: Of the schedule.
        options: Its.
        epochs: Epochs in all.
        warmup: First epochs over which the factor is multiplied by a number that rises linearly from 0.01 to 1 (Goyal
            et al. 2017, arXiv 1706.02677, section 2.2); the schedule itself goes on as without.
    """
    function = SCHEDULES.load(name)

    def factor(progress: float) -> float:
        found = float(function(progress, epochs, **options))
        return found if progress >= warmup else found * (WARM_UP_FROM + (1 - WARM_UP_FROM) * progress / warmup)

    return factor
