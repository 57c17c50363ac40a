"""The placebo control: multipliers that differ from 1 by luck alone, and by next to nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import Annotated, final

from annotated_types import Ge, Gt, Le

from kdstudy.layerwise.base import Policy
from kdstudy.layerwise.normalise import Mean, normalised


@final
class PlaceboPolicy(Policy):
    """Give each layer a rate a few per cent off the base rate, drawn once, whatever it learns (negative control).

    A treatment that does nothing: a trial takes another path than under ``constant``, as under any treatment, and there
    is no reason why it should end better or worse. How often a study calls it better or worse is what its verdicts are
    worth. Nothing is measured.

    Source: ours; a placebo arm, as clinical trials have it.

    Args:
        layers: Names of the crucial layers, in order of depth.
        seed: Of the draw, one number per layer.
        parameters: Number of each layer's parameters.
        size: Standard deviation of a multiplier's logarithm, in [0, 1]; 0 is the constant policy.
        low: Smallest multiplier, in (0, 1].
        high: Largest multiplier, >= 1.
        normalise: What keeps the base rate, as in ``layerwise``: ``parameters``, ``layers`` or ``off``.
    """

    def __init__(  # noqa: PLR0913 - each argument is a key of the study file
        self,
        layers: Sequence[str],
        seed: int = 0,
        parameters: Sequence[int] = (),
        *,
        size: Annotated[float, Ge(0), Le(1)] = 0.02,
        low: Annotated[float, Gt(0), Le(1)] = 0.25,
        high: Annotated[float, Ge(1)] = 4.0,
        normalise: Mean = "parameters",
    ) -> None:
        super().__init__(layers, seed, parameters)
        self.low, self.high = low, high
        # `random` is promised to be the same in every Python, `gauss` is not; 0 has no quantile.
        stream = random.Random(seed)
        drawn = [NormalDist().inv_cdf(stream.random() or 0.5) for _ in self.layers]
        factors = normalised([math.exp(size * z) for z in drawn], self.parameters, normalise, low, high)
        self.multipliers = dict(zip(self.layers, factors, strict=True))

    def due(self, epoch: int, epochs: int) -> bool:
        """Never."""
        return False
