"""Attention transfer: where in the image a layer is active."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from annotated_types import Ge
from torch import Tensor

from kdstudy.models import FeatureExtractor
from kdstudy.transfer.base import Observation, Temperature, TransferContext, Weight
from kdstudy.transfer.losses import unit_distance
from kdstudy.transfer.map_transfer import MapTransfer
from kdstudy.transfer.maps import attention_map, resize


class AttentionTransfer(MapTransfer):
    """Matches attention maps ``Q = mean over channels of |A|^p``, one (H, W) map per sample and layer.

    The loss of a layer is ``|| Q_S / ||Q_S|| - Q_T / ||Q_T|| ||^2``, summed over positions, averaged over
    samples: between 0 and 2. Maps of different heights or widths: the larger is average-pooled to the
    smaller.

    Args:
        context: Networks and shapes.
        weight: Factor on the sum over layers; 0 measures without teaching.
        p: Power >= 1: 1 weighs all channels alike, large values follow the strongest one.
        kd_weight: Factor on soft targets; 0 leaves them out.
        temperature: Of the soft targets, > 0.

    Source: Zagoruyko & Komodakis 2017, arXiv 1612.03928, equation 2. The paper sums the unsquared distance
        over layers; the authors' code averages the square over positions too, which makes its weight of 1000
        equal to 1000 / (H W) here and lets small maps count more than large ones.
    """

    name: ClassVar[str] = "attention"
    splits_batches: ClassVar[bool] = True
    cache_neutral_options: ClassVar[frozenset[str] | None] = frozenset({"weight", "kd_weight", "temperature"})

    def __init__(
        self,
        context: TransferContext,
        *,
        weight: Weight = 1.0,
        p: Annotated[float, Ge(1)] = 2.0,
        kd_weight: Weight = 0.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__(context, weight=weight, kd_weight=kd_weight, temperature=temperature)
        self.p = p

    def observe(self, network: FeatureExtractor, images: Tensor, draws: Any) -> Observation:
        """Run ``network`` once and keep its attention maps, each of shape (B, H, W)."""
        output = network(images)
        maps = (attention_map(feature, self.p) for feature in output.features)
        return Observation(output.logits, tuple(map(resize, maps, self.sizes)))

    def losses(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return each layer's squared distance of L2-normalised maps."""
        return [unit_distance(*pair) for pair in zip(student, teacher, strict=True)]
