"""The trust policy: rates under which every layer takes a step of the same size relative to its weights.

At each update, for each layer j::

    ln alpha_j = gain * ln(||w_j|| / (||g_j|| + wd ||w_j||)), scaled to sum_j w_j alpha_j = 1 within the bounds

Here ||w_j|| and ||g_j|| are norms of the parameters of the layer's group and of their gradients, means over the epoch
that has ended; wd is the optimizer's weight decay; w_j is the layer's share of the parameters. It asks whether any
equal relative step would do: no map is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

from kdstudy.layerwise.base import Measurement
from kdstudy.layerwise.level import LevelPolicy, centred, known_log


@final
class TrustPolicy(LevelPolicy):
    """Set each layer's rate by the norm of its weights over that of its gradients (control).

    Source: LARS (You et al. 2017, arXiv 1708.03888), eq. 6, whose trust ratio with ``gain`` 1 it is. Deviations: one
    ratio per crucial layer and its stem, not per tensor; means over an epoch, set every few epochs; and the mean
    parameter's rate stays the base rate.

    Divergences are measured as often as by ``layerwise``, at the same cost, and only recorded.

    Args:
        layers: Names of the crucial layers, in order of depth.
        seed: Not used; nothing is drawn.
        parameters: Number of each layer's parameters.
        interval: Epochs between updates, >= 1; there is none after the last epoch.
        gain: Strength of the response; 1 is LARS, 0 is the constant policy, below 0 turns it round.
        low: Smallest multiplier, in (0, 1].
        high: Largest multiplier, >= 1.
        map: Whose map is measured, to be recorded; by default the transfer's own, or attention for a transfer without
            maps.
        probe_size: Training images it is measured on, >= 1; all of them if there are fewer.
        b1: Weight of the student in the divergence, in (0, 1).

    Raises:
        StudyError: Fewer than two layers.
    """

    name: ClassVar[str] = "trust"
    needs_norms: ClassVar[bool] = True

    def signals(self, measured: Measurement) -> Sequence[float]:
        """Return the logarithm of each trust ratio minus the mean over parameters; 0 where it is not defined."""
        pairs = zip(measured.weights, measured.gradients, strict=True)
        logs = [known_log(weight, gradient + measured.weight_decay * weight) for weight, gradient in pairs]
        return centred(logs, self.parameters)
