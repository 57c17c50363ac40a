"""The progress policy: faster rates for layers whose transfer loss has fallen less than that of others.

At each update, for each layer j::

    r_j        = [L_j(t) / L_j(0)] / mean_k [L_k(t) / L_k(0)]     L_j the layer's term of the transfer's loss
    ln alpha_j = gain * ln r_j, scaled to sum_j w_j alpha_j = 1 within the bounds

L_j(t) is the mean over the epoch that has ended, L_j(0) over the first one, the earliest that there is. Losses count
as 1e-12 where they are smaller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, final

from kdstudy.layerwise.base import Measurement
from kdstudy.layerwise.level import LevelPolicy, known_log

_FLOOR = 1e-12


@final
class ProgressPolicy(LevelPolicy):
    """Set each layer's rate by the share of its first loss that is left, compared with the other layers'.

    Source: GradNorm (Chen et al. 2018, arXiv 1711.02257), whose relative inverse training rate r_j and exponent (here
    ``gain``) these are. Deviation: GradNorm learns a weight of each task's loss; this sets the rate of the layer's
    weights, which scales the cross-entropy's part and the weight decay too.

    A transfer without a loss of each crucial layer is refused.

    Args:
        layers: Names of the crucial layers, in order of depth.
        seed: Not used; nothing is drawn.
        parameters: Number of each layer's parameters.
        interval: Epochs between updates, >= 1; there is none after the last epoch.
        gain: Strength of the response; 1 makes rates proportional to r_j, 0 is the constant policy, below 0 the
            layers that progress least are slowed down.
        low: Smallest multiplier, in (0, 1].
        high: Largest multiplier, >= 1.
        map: Whose map is measured, to be recorded; by default the transfer's own, or attention for a transfer without
            maps.
        probe_size: Training images it is measured on, >= 1; all of them if there are fewer.
        b1: Weight of the student in the divergence, in (0, 1).

    Raises:
        StudyError: Fewer than two layers.
    """

    name: ClassVar[str] = "progress"
    needs_terms: ClassVar[bool] = True

    def signals(self, measured: Measurement) -> Sequence[float]:
        """Return ln r_j; 0 for a layer whose loss was not finite."""
        pairs = zip(measured.terms, measured.first_terms, strict=True)
        logs = [known_log(now, first, _FLOOR) for now, first in pairs]
        known = [log for log in logs if log is not None]
        if not known:
            return [0.0] * len(logs)
        top = max(known)  # taken out of the mean, so that no ratio overflows
        mean = top + math.log(sum(math.exp(log - top) for log in known) / len(known))
        return [0.0 if log is None else log - mean for log in logs]
