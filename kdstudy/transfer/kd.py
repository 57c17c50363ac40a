"""Soft targets: what the teacher thinks of all classes, and nothing of its layers."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from kdstudy.data import Batch
from kdstudy.models import FeatureExtractor
from kdstudy.transfer.base import Observation, Temperature, Transfer, TransferContext, Weight
from kdstudy.transfer.losses import soft_target_loss


class SoftTargetTransfer(Transfer):
    """Matches the teacher's softened predictions; one term, ``kd``.

    Args:
        context: Networks and shapes.
        weight: Factor on the term; 0 leaves plain training.
        temperature: Softens both predictions, > 0; large values weigh all classes alike.

    Source: Hinton, Vinyals, Dean 2015, arXiv 1503.02531; see `kdstudy.transfer.losses.soft_target_loss`. The
        weight of the cross-entropy with the labels is ``train.label_weight``.
    """

    splits_batches: ClassVar[bool] = True
    needs: ClassVar[Literal["layers", "embedding", "nothing"]] = "nothing"
    cache_neutral_options: ClassVar[frozenset[str] | None] = frozenset({"weight", "temperature"})

    def __init__(self, context: TransferContext, *, weight: Weight = 1.0, temperature: Temperature = 4.0) -> None:
        super().__init__(context)
        self.weight, self.temperature = weight, temperature

    def observe(self, network: FeatureExtractor, images: Tensor, draws: Any) -> Observation:
        """Run ``network`` and keep its logits."""
        return Observation(network(images).logits, ())

    def terms(self, student: Observation, teacher: Observation, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted divergence of the softened predictions."""
        multilabel = batch.labels.is_floating_point()
        loss = soft_target_loss(student.logits, teacher.logits, self.temperature, multilabel=multilabel)
        return {"kd": self.weight * loss}
