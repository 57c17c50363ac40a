"""The decay control: a fixed profile by depth, to ask whether any profile does as well as a measured one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

from annotated_types import Gt

from kdstudy.layerwise.base import Policy
from kdstudy.layerwise.normalise import Normalise, normalised


@final
class DecayPolicy(Policy):
    """Give each layer ``rate`` times the rate of the next deeper one, and never change it.

    Source: layer decay as in timm and BEiT (Bao et al., arXiv 2106.08254), where the head has the factor 1 and layer
    j of L has ``rate ** (L + 1 - j)``. Deviation: by default the factors are divided by their mean over parameters, so
    that the mean rate stays the base rate as it does under the measured policy.

    Args:
        layers: Names of the crucial layers, in order of depth.
        seed: Not used; nothing is drawn.
        parameters: Number of each layer's parameters.
        rate: Factor from one layer to the one before it, > 0; 1 is the constant policy, above 1 the shallow
            layers are the fast ones.
        normalise: What learns at the base rate: ``parameters``, the mean parameter of the crucial layers; ``layers``,
            the mean layer; ``off``, the head alone.
    """

    def __init__(
        self,
        layers: Sequence[str],
        seed: int = 0,
        parameters: Sequence[int] = (),
        *,
        rate: Annotated[float, Gt(0)] = 0.75,
        normalise: Normalise = "parameters",
    ) -> None:
        super().__init__(layers, seed, parameters)
        count = len(self.layers)
        factors = [rate ** (count - depth) for depth in range(count)]
        self.multipliers = dict(zip(self.layers, normalised(factors, self.parameters, normalise), strict=True))

    def due(self, epoch: int, epochs: int) -> bool:
        """Never."""
        return False
