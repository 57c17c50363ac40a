"""The base class of learning-rate policies: one multiplier per crucial layer, changed at most between epochs.

The learning rate of layer j at a step is ``base_lr * schedule(step) * multiplier_j``; parameters in the head have the
multiplier 1. The multiplier scales SGD's coupled weight decay too. Plain floats only: no policy needs torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from kdstudy.results import LayerRecord


class Policy(ABC):
    """A learning-rate policy. Subclasses take ``layers``, ``seed`` and keyword-only options.

    A policy that draws nothing need not take ``seed``.

    Args:
        layers: Names of the student's crucial layers, in order of depth.
        seed: Of the random stream of a policy that draws; the trial's own, derived from its initialisation seed.

    Attributes:
        multipliers: The present factor of each layer on the base rate.
        map_name: The transfer whose map is to be measured; None for the trial's own, or attention if it has
            none.
        probe_size: Training images the maps are measured on.
        b1: Weight of the student in the divergence, in (0, 1).
        seed: As given.
    """

    map_name: str | None = None
    probe_size: int = 512
    b1: float = 0.5

    def __init__(self, layers: Sequence[str], seed: int = 0) -> None:
        self.layers, self.seed = tuple(layers), seed
        self.multipliers: dict[str, float] = dict.fromkeys(self.layers, 1.0)

    @classmethod
    def problems(
        cls,
        options: Mapping[str, Any],
        *,
        epochs: int,
        num_layers: int | None = None,
    ) -> list[str]:
        """Return what is wrong with these options together, one line each; empty if nothing is.

        Args:
            options: Plain values, without ranges; absent ones take their defaults.
            epochs: Length of the training.
            num_layers: Number of crucial layers; None where it is not known yet.
        """
        return []

    @abstractmethod
    def due(self, epoch: int, epochs: int) -> bool:
        """Whether divergences are measured and `update` is called after ``epoch`` (from 1) of ``epochs``."""

    def update(self, divergences: Sequence[float]) -> tuple[LayerRecord, ...]:
        """Set the multipliers from one divergence in [0, 1] per layer, in order, and return what was set.

        A policy that is never due sets nothing.
        """
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes in training, as plain JSON values."""
        return {"multipliers": dict(self.multipliers)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`'s values."""
        self.multipliers = {layer: float(state["multipliers"][layer]) for layer in self.layers}
