"""Relational distillation: distances between samples, and angles of their triangles.

Shapes: B samples, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from kdstudy.data import Batch
from kdstudy.transfer.base import Temperature, TransferContext, Weight
from kdstudy.transfer.features import At, FeatureTransfer, pooled, unit

# Squared distances up to this are zero, as in the authors' code: no gradient of the root there.
_ZERO = 1e-12


class RelationalTransfer(FeatureTransfer):
    """Matches relations between the samples of a batch, given by the pooled features e, (B, C).

    Of distances ``psi(i, j) = ||e_i - e_j|| / mu``, mu their mean over pairs of different samples; of angles
    psi(i, j, k), the cosine of the angle at e_i between e_j and e_k. The loss of a layer is
    ``distance l(psi_S, psi_T) + angle l(psi_S, psi_T)`` with Huber's l (quadratic up to 1), the mean over all B^2
    pairs and all B^3 triples, degenerate ones included.

    Args:
        context: Networks and shapes.
        weight: Factor on both parts and the sum over layers; 0 measures without teaching.
        distance: Factor on the distances.
        angle: Factor on the angles.
        at: Which crucial layers.
        kd_weight: Factor on soft targets; 0 leaves them out.
        temperature: Of the soft targets, > 0.

    Source: Park et al. 2019, arXiv 1904.05068, distance-wise and angle-wise loss. As in the authors' code the
        relations are averaged, where the paper sums; factors 25 and 50 are its classification recipe, also of
        RepDistiller and mdistiller. They embed by the vector that enters the classifier, which the last
        stage's mean over positions is in the usual networks. Differences are taken before squares, which is
        more exact than their ``|a|^2 + |b|^2 - 2ab`` for samples that nearly coincide; mu divides by B (B - 1)
        also where some coincide. Memory grows as B^3: 67 MB for each network's angles at B = 256 in float32.
    """

    name: ClassVar[str] = "rkd"
    needs: ClassVar[Literal["layers", "embedding", "nothing"]] = "embedding"

    def __init__(  # noqa: PLR0913 - a method's options
        self,
        context: TransferContext,
        *,
        weight: Weight = 1.0,
        distance: Weight = 25.0,
        angle: Weight = 50.0,
        at: At = "last",
        kd_weight: Weight = 0.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__(context, weight=weight, at=at, kd_weight=kd_weight, temperature=temperature)
        self.distance, self.angle = distance, angle

    def losses(self, student: Sequence[Tensor], teacher: Sequence[Tensor], batch: Batch) -> Sequence[Tensor]:
        """Return each layer's weighed sum of both parts."""
        return [self._loss(pooled(own), pooled(target)) for own, target in zip(student, teacher, strict=True)]

    def _loss(self, student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
        student_distances, student_cosines = relations(student_BC)
        with torch.no_grad():
            teacher_distances, teacher_cosines = relations(teacher_BC)
        distance = functional.smooth_l1_loss(student_distances, teacher_distances)
        angle = functional.smooth_l1_loss(student_cosines, teacher_cosines)
        return self.distance * distance + self.angle * angle


def relations(vectors_BC: Tensor) -> tuple[Tensor, Tensor]:
    """Return relative distances (B, B) and cosines (B, B, B); zero where samples coincide."""
    samples = len(vectors_BC)
    differences = vectors_BC.unsqueeze(0) - vectors_BC.unsqueeze(1)
    square = differences.square().sum(dim=2)
    apart = square > _ZERO
    distances = torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)
    mean = distances.sum() / max(samples * (samples - 1), 1)
    directions = unit(differences)
    return distances / mean.clamp_min(_ZERO), directions @ directions.transpose(1, 2)
