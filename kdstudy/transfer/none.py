"""No transfer: the student learns from the labels alone."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from kdstudy.data import Batch
from kdstudy.models import FeatureExtractor
from kdstudy.transfer.base import Observation, Transfer


class NoTransfer(Transfer):
    """Plain training: no term is added and the teacher is not run.

    Source: the baseline called "None" in Kokane, Uddin, Xu, arXiv 2407.04871.
    """

    splits_batches: ClassVar[bool] = True
    needs: ClassVar[Literal["layers", "embedding", "nothing"]] = "nothing"

    def observe(self, network: FeatureExtractor, images: Tensor, draws: Any) -> Observation:
        """Run ``network`` and keep its logits."""
        return Observation(network(images).logits, ())

    def terms(self, student: Observation, teacher: Observation, batch: Batch) -> dict[str, Tensor]:
        """Return no term."""
        return {}

    @property
    def uses_teacher(self) -> bool:
        """Always False."""
        return False
