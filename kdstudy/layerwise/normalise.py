"""Keeps the mean learning rate at the base rate: scales multipliers so that their mean is 1, within their bounds.

A factor on a layer of many parameters moves more of the network than the same factor on a layer of few. So the mean is
taken over parameters by default, and the bounds are part of the equation: the result is ``clip(c * alpha, low, high)``
with the one ``c`` for which ``sum(w * result) = 1``, w each layer's share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from kdstudy.plugins import Earlier

Mean = Literal["parameters", "layers", "off"]
Normalise = Annotated[
    Mean,
    Earlier(
        bool,
        default=True,
        instead="write parameters (the mean parameter learns at the base rate), layers (the mean layer does) or off",
    ),
]
"""An option of a policy. In records of earlier versions: true, divided by the mean over layers, then clipped; false."""

_SMALLEST = -690.0  # the logarithm of 1e-300, about: its inverse is finite still
_HALVINGS = 100


def normalised(
    alphas: Sequence[float],
    parameters: Sequence[int],
    how: Mean | bool,
    low: float = 0.0,
    high: float = math.inf,
) -> list[float]:
    """Return multipliers whose mean is 1 within 1e-9, each within its bounds.

    Args:
        alphas: One per layer, >= 0 and finite; what is below 1e-300 of the largest counts as equally small.
        parameters: Number of each layer's parameters.
        how: Over what the mean is taken; ``off`` clips alone. True and False as in `Normalise`.
        low: Smallest multiplier, in [0, 1].
        high: Largest multiplier, >= 1.
    """
    if how in ("parameters", "layers") and alphas:
        sizes = parameters if how == "parameters" and any(parameters) else [1] * len(alphas)
        return _scaled(alphas, sizes, low, high)
    if how is True:
        alphas = _over_their_mean(alphas)
    return [min(max(alpha, low), high) for alpha in alphas]


def _scaled(alphas: Sequence[float], sizes: Sequence[int], low: float, high: float) -> list[float]:
    if min(alphas) == max(alphas):
        return [1.0] * len(alphas)  # exactly: what does not move equals the constant policy bit for bit
    top, total = max(alphas), sum(sizes)
    logs = [max(math.log(alpha / top), _SMALLEST) if alpha / top > 0.0 else _SMALLEST for alpha in alphas]

    def within(shift: float) -> list[float]:
        return [min(max(math.exp(shift + value), low), high) for value in logs]

    # All are <= 1 at the first shift and >= 1 at the last, before the bounds and after: the mean is 1 between them.
    below, above = 0.0, -min(logs)
    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        if sum(size * alpha for size, alpha in zip(sizes, within(middle), strict=True)) < total:
            below = middle
        else:
            above = middle
    return within(above)


def _over_their_mean(alphas: Sequence[float]) -> Sequence[float]:
    """As earlier versions did: the clip that follows moves the mean again, and layers of all sizes count alike."""
    mean = sum(alphas) / len(alphas) if alphas else 0.0
    return [alpha / mean for alpha in alphas] if mean > 0.0 else [1.0] * len(alphas)
