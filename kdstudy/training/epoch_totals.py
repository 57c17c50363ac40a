"""What is known of an epoch once its steps are taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from kdstudy.training.norms import Norms


@final
@dataclass(frozen=True)
class EpochTotals:
    """Means over the steps of one epoch, and the learning rates of its last step.

    Args:
        loss: Mean total loss; not finite where the student has diverged.
        terms: Mean of each named term; None for one that was not finite.
        rate: The base learning rate, before multipliers.
        rates: Of each group.
        trouble: Why the student has diverged, in one sentence without a full stop; None if it has not.
        norms: Of each group's parameters and gradients, where they were asked for.
    """

    loss: float
    terms: dict[str, float | None]
    rate: float
    rates: dict[str, float]
    trouble: str | None = None
    norms: dict[str, Norms] = field(default_factory=dict)
