"""The lag policy: faster rates for layers that are further from the teacher than others, measured by chance.

A divergence's level is set by how peaked a map is, then by its size, and last by agreement; so layers are compared by
how far each has come from its own chance level c_j, the divergence from the teacher's maps of other images::

    s_j        = ln(d_j / c_j) - sum_k w_k ln(d_k / c_k)     w_k the layers' shares of the crucial layers' parameters
    eta_j      = momentum * eta_j + (1 - momentum) * s_j
    ln alpha_j = gain * eta_j, scaled to sum_j w_j alpha_j = 1 within the bounds

d_j and c_j count as 1e-12 where they are smaller. A layer whose c_j is 0 or unknown cannot be compared: its signal is
0, and the mean is that of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, final

from annotated_types import Ge, Lt

from kdstudy.layerwise.base import Measurement
from kdstudy.layerwise.level import LevelPolicy, centred, known_log

_FLOOR = 1e-12


@final
class LagPolicy(LevelPolicy):
    """Set each layer's rate by its divergence in units of chance: a level that adds nothing up.

    Source: ours; the divergence of arXiv 2407.04871, put in relation to that of unrelated images.

    Args:
        layers: Names of the crucial layers, in order of depth.
        seed: Not used; nothing is drawn.
        parameters: Number of each layer's parameters.
        momentum: Memory of the signal, in [0, 1); 0 follows the last measurement alone.
        interval: Epochs between updates, >= 1; there is none after the last epoch.
        gain: Strength of the response; 1 makes rates proportional to d_j / c_j, 0 is the constant policy, below 0
            lagging layers are slowed down.
        low: Smallest multiplier, in (0, 1].
        high: Largest multiplier, >= 1.
        map: Whose map is measured; by default the transfer's own, or attention for a transfer without maps.
        probe_size: Training images it is measured on, >= 1; all of them if there are fewer.
        b1: Weight of the student in the divergence, in (0, 1).

    Raises:
        StudyError: Fewer than two layers.
    """

    name: ClassVar[str] = "lag"

    def __init__(
        self,
        layers: Sequence[str],
        seed: int = 0,
        parameters: Sequence[int] = (),
        *,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.9,
        **options: Any,
    ) -> None:
        super().__init__(layers, seed, parameters, **options)
        self.momentum = momentum
        self._eta = [0.0] * len(self.layers)

    def signals(self, measured: Measurement) -> Sequence[float]:
        """Return eta after this update."""
        pairs = zip(measured.divergences, measured.chances, strict=True)
        logs = [known_log(own, chance, _FLOOR) if chance else None for own, chance in pairs]
        found = centred(logs, self.parameters)
        self._eta = [self.momentum * eta + (1.0 - self.momentum) * s for eta, s in zip(self._eta, found, strict=True)]
        return self._eta

    def state_dict(self) -> dict[str, Any]:
        """Return multipliers and momenta."""
        return {**super().state_dict(), "momentum": dict(zip(self.layers, self._eta, strict=True))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`'s values."""
        super().load_state_dict(state)
        self._eta = [float(state["momentum"][layer]) for layer in self.layers]
