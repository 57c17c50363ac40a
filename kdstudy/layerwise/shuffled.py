"""The permutation control: the layer-wise rule fed with divergences permuted across the layers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, final

from kdstudy.layerwise.controller import Controller
from kdstudy.results import LayerRecord
from kdstudy.seeds import derive


@final
class WalkPolicy(Controller):
    """Permute the measured divergences across the layers, then act as ``layerwise`` does (permutation control).

    At each update the divergences are measured, put in random order, and go through the layer-wise rule. Steps, memory,
    bounds, mean rate and cost are those of ``layerwise``; only which layer gets which step is luck. Where this does as
    well, it was not the measurement that helped. With two layers, half of the deals leave everything in place; with
    three, one in six.

    The order comes from ``seed``, a stream of the trial's own: every trial's seed gives another walk. Where each step
    is dealt anew, steps cancel that the rule's own add up; dealt once and for all, each layer follows another one's
    divergence, and goes as far as the rule does.

    Source: ours; a random walk whose step size needs no setting.

    Args:
        layers: Names of the crucial layers, in order of depth.
        seed: Of the permutations.
        parameters: Number of each layer's parameters.
        interval: Epochs between steps, >= 1; there is none after the last epoch.
        momentum: Memory of the steps, in [0, 1); 0 forgets each at the next.
        gain: Size of the steps; its sign means little, since the order is random.
        low: Smallest multiplier, in (0, 1].
        high: Largest multiplier, >= 1.
        signal: ``relative`` or ``absolute``, as in ``layerwise``.
        rule: ``multiplicative`` or ``additive``.
        normalise: ``parameters``, ``layers`` or ``off``, as in ``layerwise``.
        map: Whose map is measured; by default the transfer's own, or attention for a transfer without maps.
        probe_size: Training images it is measured on, >= 1.
        b1: Weight of the student in the divergence, in (0, 1).
        redraw: When the layers are dealt: ``every`` update anew, or ``never`` after the first.

    Raises:
        StudyError: The relative signal with fewer than two layers.
    """

    name: ClassVar[str] = "walk"
    _steps = 0

    def __init__(
        self,
        layers: Sequence[str],
        seed: int = 0,
        parameters: Sequence[int] = (),
        *,
        redraw: Literal["every", "never"] = "every",
        **options: Any,
    ) -> None:
        super().__init__(layers, seed, parameters, **options)
        self.redraw = redraw

    def update(self, divergences: Sequence[float]) -> tuple[LayerRecord, ...]:
        """Take one divergence in [0, 1] per layer, in order; the records keep each where it was measured."""
        # A stream a step: a resumed trial needs to know how many steps were taken, nothing more.
        stream = random.Random(derive(self.seed, self._steps if self.redraw == "every" else 0))
        # Sorting by `random` and not `shuffle`: the former is promised to be the same in every Python.
        order = sorted(range(len(divergences)), key=lambda _place: stream.random())
        self._steps += 1
        records = self.apply_rule([divergences[place] for place in order])
        return tuple(
            replace(record, divergence=measured) for record, measured in zip(records, divergences, strict=True)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return multipliers, momenta and the number of steps taken."""
        return {**super().state_dict(), "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`'s values."""
        super().load_state_dict(state)
        self._steps = int(state["steps"])
