"""Similarity-preserving distillation: which samples of a batch a layer finds alike.

Shapes: B samples, D = C H W entries of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor

from kdstudy.data import Batch
from kdstudy.transfer.base import Temperature, TransferContext, Weight
from kdstudy.transfer.features import At, FeatureTransfer, unit


class SimilarityTransfer(FeatureTransfer):
    """Matches G = A A^T, (B, B), of the flattened features A, each row divided by its L2 norm.

    The loss of a layer is ``||G_S - G_T||_F^2 / B^2``. Neither channels nor positions need match, so there is
    neither adaptor nor pooling.

    Args:
        context: Networks and shapes.
        weight: Factor on the sum over layers; 0 measures without teaching.
        at: Which crucial layers.
        kd_weight: Factor on soft targets; 0 leaves them out.
        temperature: Of the soft targets, > 0.

    Source: Tung & Mori 2019, arXiv 1907.09682, equations 1 to 4; the weight 3000 is its gamma. It sums over
        pairs of layers; RepDistiller and mdistiller, whose recipe is the default, take the last stage alone.
        torchdistill 1.1.5 divides rows by their L1 norm, so its values are smaller.
    """

    name: ClassVar[str] = "sp"
    needs: ClassVar[Literal["layers", "embedding", "nothing"]] = "embedding"

    def __init__(
        self,
        context: TransferContext,
        *,
        weight: Weight = 3000.0,
        at: At = "last",
        kd_weight: Weight = 0.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__(context, weight=weight, at=at, kd_weight=kd_weight, temperature=temperature)

    def losses(self, student: Sequence[Tensor], teacher: Sequence[Tensor], batch: Batch) -> Sequence[Tensor]:
        """Return each layer's mean squared difference of similarities."""
        pairs = zip(student, teacher, strict=True)
        return [(_similarity(own) - _similarity(target)).square().mean() for own, target in pairs]


def _similarity(feature: Tensor) -> Tensor:
    """Return G with rows of length 1, (B, B)."""
    flat_BD = feature.flatten(1)
    return unit(flat_BD @ flat_BD.T)
