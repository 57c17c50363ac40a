"""Probabilistic knowledge transfer: how probable a sample finds each other one to be its neighbour.

Shapes: B samples, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor

from kdstudy.data import Batch
from kdstudy.transfer.base import Temperature, TransferContext, Weight
from kdstudy.transfer.features import At, FeatureTransfer, pooled, unit

_EPS = 1e-7


class ProbabilisticTransfer(FeatureTransfer):
    """Matches the conditional probabilities of neighbours, from cosines of the pooled features e, (B, C).

    K_ij = (cos(e_i, e_j) + 1) / 2 and p_ij = K_ij / sum_k K_ik. The loss of a layer is the mean over the B^2
    pairs of ``p_ij^T log(p_ij^T / p_ij^S)``.

    Args:
        context: Networks and shapes.
        weight: Factor on the sum over layers; 0 measures without teaching.
        at: Which crucial layers.
        kd_weight: Factor on soft targets; 0 leaves them out.
        temperature: Of the soft targets, > 0.

    Source: Passalis & Tefas 2018, arXiv 1803.10837. The paper sums over pairs of different
        samples; the authors' code averages and counts a sample as its own neighbour, and so do we. The weight
        30000 is RepDistiller's and mdistiller's, which embed by the vector that enters the classifier; the
        last stage's mean over positions is that vector in the usual networks. Lengths carry no 1e-7 here.
    """

    name: ClassVar[str] = "pkt"
    needs: ClassVar[Literal["layers", "embedding", "nothing"]] = "embedding"

    def __init__(
        self,
        context: TransferContext,
        *,
        weight: Weight = 30000.0,
        at: At = "last",
        kd_weight: Weight = 0.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__(context, weight=weight, at=at, kd_weight=kd_weight, temperature=temperature)

    def losses(self, student: Sequence[Tensor], teacher: Sequence[Tensor], batch: Batch) -> Sequence[Tensor]:
        """Return each layer's divergence."""
        losses = []
        for own, target in zip(student, teacher, strict=True):
            p, q = neighbours(pooled(target)), neighbours(pooled(own))
            losses.append((p * ((p + _EPS) / (q + _EPS)).log()).mean())
        return losses


def neighbours(vectors_BC: Tensor) -> Tensor:
    """Return p, (B, B), rows of sum 1."""
    directions = unit(vectors_BC)
    kernel = (directions @ directions.T + 1) / 2
    return kernel / kernel.sum(dim=1, keepdim=True)
