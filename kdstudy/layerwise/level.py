"""What the policies have in common whose rates are a level: each update sets them from the present signal alone.

``alpha_j`` is proportional to ``exp(gain * signal_j)``, scaled so that the mean parameter of the crucial layers learns
at the base rate, within the bounds. Nothing is added up, so a signal that stays leaves the rates where they are; the
paper's rule (`kdstudy.layerwise.controller`) moves on with every update, up to its bounds.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt

from kdstudy.errors import StudyError
from kdstudy.layerwise.base import Measurement, Policy, never_updates, too_few_layers
from kdstudy.layerwise.normalise import normalised
from kdstudy.results import LayerRecord

_LARGEST_EXPONENT = 500.0  # exp stays finite, and so does the sum of any number of layers


class LevelPolicy(Policy, ABC):
    """A policy whose rates are a level; what it follows is a subclass's `signals`.

    Divergences are measured at each update, as by ``layerwise``, whether or not the signal is one of them: so that
    the records say what became of them.

    Args:
        layers: Names of the crucial layers, in order of depth.
        seed: Not used; nothing is drawn.
        parameters: Number of each layer's parameters.
        interval: Epochs between updates, >= 1; there is none after the last epoch.
        gain: Strength of the response; 0 is the constant policy, below 0 turns it round.
        low: Smallest multiplier, in (0, 1].
        high: Largest multiplier, >= 1.
        map: Whose map is measured; by default the transfer's own, or attention for a transfer without maps.
        probe_size: Training images it is measured on, >= 1; all of them if there are fewer.
        b1: Weight of the student in the divergence, in (0, 1).

    Raises:
        StudyError: Fewer than two layers.
    """

    name: ClassVar[str]

    def __init__(  # noqa: PLR0913 - each argument is a key of the study file
        self,
        layers: Sequence[str],
        seed: int = 0,
        parameters: Sequence[int] = (),
        *,
        interval: Annotated[int, Ge(1)] = 25,
        gain: float = 0.5,
        low: Annotated[float, Gt(0), Le(1)] = 0.25,
        high: Annotated[float, Ge(1)] = 4.0,
        map: Literal["attention", "jacobian", "hessian"] | None = None,  # noqa: A002 - the study file's key
        probe_size: Annotated[int, Ge(1)] = 512,
        b1: Annotated[float, Gt(0), Lt(1)] = 0.5,
    ) -> None:
        super().__init__(layers, seed, parameters)
        if too_few := too_few_layers(self.name, len(self.layers)):
            raise StudyError([too_few])
        self.interval, self.gain = interval, gain
        self.low, self.high = low, high
        self.map_name, self.probe_size, self.b1 = map, probe_size, b1

    @classmethod
    def problems(cls, options: Mapping[str, Any], *, epochs: int, num_layers: int | None = None) -> list[str]:
        """Return what is wrong with these options together; see `Policy.problems`."""
        few = None if num_layers is None else too_few_layers(cls.name, num_layers)
        return [found for found in (never_updates(cls.name, options.get("interval", 25), epochs), few) if found]

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether ``epoch`` is a multiple of the interval and not the last."""
        return epoch % self.interval == 0 and epoch < epochs

    @abstractmethod
    def signals(self, measured: Measurement) -> Sequence[float]:
        """Return one finite number per layer, in order; 0 for a layer of which nothing is known."""

    def follow(self, measured: Measurement) -> tuple[LayerRecord, ...]:
        """Set the multipliers in proportion to ``exp(gain * signal)``; the records hold the signal as momentum."""
        signals = self.signals(measured)
        raw = [_exp(self.gain * signal) for signal in signals]
        factors = normalised(raw, self.parameters, "parameters", self.low, self.high)
        self.multipliers = dict(zip(self.layers, factors, strict=True))
        found = zip(self.layers, measured.divergences, signals, factors, strict=True)
        return tuple(LayerRecord(*each) for each in found)


def known_log(above: float | None, below: float | None, floor: float = 0.0) -> float | None:
    """Return ``ln(above / below)``; None where either is missing or not finite, or, floored, not above 0.

    Args:
        above: The numerator.
        below: The denominator.
        floor: Smallest value that either counts as.
    """
    if above is None or below is None or not (math.isfinite(above) and math.isfinite(below)):
        return None
    above, below = max(above, floor), max(below, floor)
    return math.log(above) - math.log(below) if above > 0.0 and below > 0.0 else None


def centred(logs: Sequence[float | None], sizes: Sequence[int]) -> list[float]:
    """Return the distance of each from their mean, weighed by size; what is None gets 0 and counts in no mean."""
    known = [(value, size) for value, size in zip(logs, sizes, strict=True) if value is not None]
    if not any(size for _, size in known):
        known = [(value, 1) for value, _ in known]
    if not known:
        return [0.0] * len(logs)
    first = known[0][0]  # taken out of the mean, so that equal values are exactly at it
    mean = sum((value - first) * size for value, size in known) / sum(size for _, size in known)
    return [0.0 if value is None else (value - first) - mean for value in logs]


def _exp(exponent: float) -> float:
    return math.exp(min(max(exponent, -_LARGEST_EXPONENT), _LARGEST_EXPONENT))
