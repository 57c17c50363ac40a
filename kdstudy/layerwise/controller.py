"""The layer-wise controller: learning rates that follow how far each layer lags behind the teacher.

Source: Kokane, Uddin, Xu, *Improving Knowledge Distillation in Transfer Learning with Layer-wise Learning
Rates*, arXiv 2407.04871: every 25 epochs the rate of layer j is computed from its last rate, the
Jensen-Shannon divergence of layer j and the prior momentum. The exact formula was not available to us; the
one below is our reading, its alternatives are options. At each update, for each layer j of divergence d_j::

    signal_j = d_j / mean(d) - 1  (relative; 0 if all d are 0)  or  d_j  (absolute)
    eta_j    = momentum * eta_j + (1 - momentum) * signal_j
    alpha_j  = alpha_j * exp(gain * eta_j)  (multiplicative)  or  max(alpha_j + gain * eta_j, 0)  (additive)
    alpha    = clip(c * alpha, low, high), c such that sum(w * alpha) = 1  (normalise: w the layers' shares of
               the crucial layers' parameters, or equal)  or  clip(alpha, low, high)  (off)

The additive rule can pass below 0, where a common factor would turn signs and order round: such values
count as 0, and if all of them do, the layers are equal and each gets 1. The clip lifts the rest to ``low``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, final

from annotated_types import Ge, Gt, Le, Lt

from kdstudy.errors import StudyError
from kdstudy.layerwise.base import Policy, never_updates
from kdstudy.layerwise.normalise import Normalise, normalised
from kdstudy.results import LayerRecord

_LARGEST_EXPONENT = 500.0  # exp stays finite, and so does the sum of any number of layers


class Controller(Policy, ABC):
    """The layer-wise rule and its memory; what it is fed with is a subclass's `update`.

    Args:
        layers: Names of the crucial layers, in order of depth.
        seed: Of a subclass's random stream.
        parameters: Number of each layer's parameters.
        **options: Those of `LayerwisePolicy`, which explains them.
    """

    name: ClassVar[str]

    def __init__(  # noqa: PLR0913 - each argument is a key of the study file
        self,
        layers: Sequence[str],
        seed: int = 0,
        parameters: Sequence[int] = (),
        *,
        interval: Annotated[int, Ge(1)] = 25,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.9,
        gain: float = 0.1,
        low: Annotated[float, Gt(0), Le(1)] = 0.25,
        high: Annotated[float, Ge(1)] = 4.0,
        signal: Literal["relative", "absolute"] = "relative",
        rule: Literal["multiplicative", "additive"] = "multiplicative",
        normalise: Normalise = "parameters",
        map: Literal["attention", "jacobian", "hessian"] | None = None,  # noqa: A002 - the study file's key
        probe_size: Annotated[int, Ge(1)] = 512,
        b1: Annotated[float, Gt(0), Lt(1)] = 0.5,
    ) -> None:
        super().__init__(layers, seed, parameters)
        if too_few := _too_few_layers(self.name, signal, len(self.layers)):
            raise StudyError([too_few])
        self.interval, self.momentum, self.gain = interval, momentum, gain
        self.low, self.high = low, high
        self.signal, self.rule, self.normalise = signal, rule, normalise
        self.map_name, self.probe_size, self.b1 = map, probe_size, b1
        self._eta = dict.fromkeys(self.layers, 0.0)

    @classmethod
    def problems(
        cls,
        options: Mapping[str, Any],
        *,
        epochs: int,
        num_layers: int | None = None,
    ) -> list[str]:
        """Return what is wrong with these options together; see `Policy.problems`."""
        never = never_updates(cls.name, options.get("interval", 25), epochs)
        found = [never] if never else []
        signal = options.get("signal", "relative")
        if num_layers is not None and (too_few := _too_few_layers(cls.name, signal, num_layers)):
            found.append(too_few)
        return found

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether ``epoch`` is a multiple of the interval and not the last."""
        return epoch % self.interval == 0 and epoch < epochs

    @abstractmethod
    def update(self, divergences: Sequence[float]) -> tuple[LayerRecord, ...]:
        """Set the multipliers from one divergence in [0, 1] per layer, in order."""

    def apply_rule(self, divergences: Sequence[float]) -> tuple[LayerRecord, ...]:
        """Take one divergence in [0, 1] per layer, in order, through the formula at the top of this module."""
        values = dict(zip(self.layers, divergences, strict=True))
        signals = _signals(values, self.signal)
        for layer in self.layers:
            self._eta[layer] = self.momentum * self._eta[layer] + (1.0 - self.momentum) * signals[layer]
        raw = [self._moved(layer) for layer in self.layers]
        moved = normalised(raw, self.parameters, self.normalise, self.low, self.high)
        self.multipliers = dict(zip(self.layers, moved, strict=True))
        return tuple(
            LayerRecord(layer, values[layer], self._eta[layer], self.multipliers[layer]) for layer in self.layers
        )

    def _moved(self, layer: str) -> float:
        response = self.gain * self._eta[layer]
        if self.rule == "additive":
            return max(self.multipliers[layer] + response, 0.0)
        bounded = min(max(response, -_LARGEST_EXPONENT), _LARGEST_EXPONENT)
        return self.multipliers[layer] * math.exp(bounded)

    def state_dict(self) -> dict[str, Any]:
        """Return multipliers and momenta."""
        return {**super().state_dict(), "momentum": dict(self._eta)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`'s values."""
        super().load_state_dict(state)
        self._eta = {layer: float(state["momentum"][layer]) for layer in self.layers}


@final
class LayerwisePolicy(Controller):
    """Set each layer's learning rate from the divergence of its map from the teacher's.

    At each update, for a layer of divergence d: signal = d / mean(d) - 1 (``relative``) or d (``absolute``);
    eta = momentum * eta + (1 - momentum) * signal, from 0; multiplier = multiplier * exp(gain * eta)
    (``multiplicative``) or multiplier + gain * eta (``additive``), from 1; then it is normalised and bounded.

    Source: arXiv 2407.04871 as far as it was available to us: the formula is our reading, the options its alternatives.

    Args:
        layers: Names of the crucial layers, in order of depth.
        seed: Not used; nothing is drawn.
        parameters: Number of each layer's parameters.
        interval: Epochs between updates, >= 1; the paper's is 25. There is none after the last epoch.
        momentum: The controller's memory, in [0, 1); 0 follows the last measurement alone. Not SGD's
            momentum.
        gain: Strength of the response; 0 leaves every multiplier at 1, below 0 lagging layers are slowed
            down.
        low: Smallest multiplier, in (0, 1].
        high: Largest multiplier, >= 1.
        signal: ``relative`` compares each layer with the mean of all and needs two layers, ``absolute`` takes
            the divergence itself.
        rule: ``multiplicative`` or ``additive``.
        normalise: What keeps the base rate within the bounds: ``parameters``, the mean parameter of the crucial
            layers; ``layers``, the mean layer; ``off``, nothing.
        map: Whose map is measured; by default the transfer's own, or attention for a transfer without maps.
        probe_size: Training images it is measured on, >= 1; all of them if there are fewer.
        b1: Weight of the student in the divergence, in (0, 1); the teacher's is 1 - b1.

    Raises:
        StudyError: The relative signal with fewer than two layers.
    """

    name: ClassVar[str] = "layerwise"

    def update(self, divergences: Sequence[float]) -> tuple[LayerRecord, ...]:
        """Set the multipliers from one divergence in [0, 1] per layer, in order."""
        return self.apply_rule(divergences)


def _too_few_layers(name: str, signal: str, num_layers: int) -> str | None:
    if signal == "relative" and num_layers < 2:
        return (
            f"{name}.signal: 'relative' compares layers with each other, got {num_layers} crucial "
            "layer(s); match at least 2, or write signal: absolute"
        )
    return None


def _signals(divergences: Mapping[str, float], signal: str) -> dict[str, float]:
    if signal == "absolute":
        return dict(divergences)
    mean = sum(divergences.values()) / len(divergences)
    if mean == 0.0:
        return dict.fromkeys(divergences, 0.0)
    return {layer: value / mean - 1.0 for layer, value in divergences.items()}
