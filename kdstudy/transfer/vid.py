"""Variational information distillation: how well the student's features predict the teacher's.

Shapes: B samples, C channels, H and W positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn import functional

from kdstudy.data import Batch
from kdstudy.transfer.base import Temperature, TransferContext, Weight
from kdstudy.transfer.features import At, FeatureTransfer, common_size

_EPS = 1e-5


class VariationalTransfer(FeatureTransfer):
    """Maximises a lower bound of the information that the student's features hold on the teacher's.

    A network m predicts the teacher's features from the student's, with one variance s_c^2 per channel. The
    loss of a layer is the mean over entries of ``((A_T - m(A_S))^2 / s_c^2 + log s_c^2) / 2``, the negative
    log-likelihood of a Gaussian but for a constant; it falls below 0 where predictions are good. m is three
    1x1 convolutions without bias, as wide as the teacher's layer, with ReLU between them; s_c^2 =
    softplus(a_c) + 1e-5 with a trained a_c. Of features of different heights or widths, the larger is
    average-pooled to the smaller.

    Args:
        context: Networks and shapes.
        weight: Factor on the sum over layers; 0 measures without teaching.
        variance: Every s_c^2 at the start, > 1e-5.
        at: Which crucial layers.
        kd_weight: Factor on soft targets; 0 leaves them out.
        temperature: Of the soft targets, > 0.

    Source: Ahn et al. 2019, arXiv 1904.05835, equation 5; network, variance 5, weight 1 and all stages as
        in RepDistiller and mdistiller. The latter leaves the variances out of its optimizer by mistake; here
        they are trained, as in the paper. This is the paper's form for intermediate layers; its forms for the
        last layers are left out.
    """

    name: ClassVar[str] = "vid"

    def __init__(
        self,
        context: TransferContext,
        *,
        weight: Weight = 1.0,
        variance: Annotated[float, Gt(_EPS)] = 5.0,
        at: At = "all",
        kd_weight: Weight = 0.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__(context, weight=weight, at=at, kd_weight=kd_weight, temperature=temperature)
        pairs = list(zip(self.student_shapes, self.teacher_shapes, strict=True))
        self.means = nn.ModuleList(_regressor(student[0], teacher[0]) for student, teacher in pairs)
        start = _softplus_inverse(variance - _EPS)
        self.raw_variances = nn.ParameterList(torch.full((teacher[0],), start) for _, teacher in pairs)

    @property
    def term_layers(self) -> tuple[str, ...]:
        """None: a negative log-likelihood may fall below 0, so no share of its first value says how far a layer is."""
        return ()

    def losses(self, student: Sequence[Tensor], teacher: Sequence[Tensor], batch: Batch) -> Sequence[Tensor]:
        """Return each layer's negative log-likelihood."""
        losses = []
        for mean, raw, own, target in zip(self.means, self.raw_variances, student, teacher, strict=True):
            own_pooled, target_pooled = common_size(own, target)
            variance = (functional.softplus(raw) + _EPS).view(-1, 1, 1)
            error = (mean(own_pooled) - target_pooled).square()
            losses.append((error / variance + variance.log()).mean() / 2)
        return losses


def _regressor(student: int, teacher: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(student, teacher, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(teacher, teacher, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(teacher, teacher, 1, bias=False),
    )


def _softplus_inverse(value: float) -> float:
    """Return the number whose softplus is ``value`` > 0, without overflow for large ones."""
    return value + math.log(-math.expm1(-value))
