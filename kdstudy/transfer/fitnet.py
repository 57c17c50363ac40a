"""FitNets: a hidden layer of the teacher as a hint for one of the student.

Shapes: B samples, C channels, H and W positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from kdstudy.data import Batch
from kdstudy.transfer.base import Temperature, TransferContext, Weight
from kdstudy.transfer.features import At, FeatureTransfer, common_size


class HintTransfer(FeatureTransfer):
    """Matches features directly: the mean over entries of ``(r(A_S) - A_T)^2``, with an adaptor r.

    r is a 1x1 convolution followed by batch norm where the numbers of channels differ, and the identity where
    they agree. Of features of different heights or widths, the larger is average-pooled to the smaller.

    Args:
        context: Networks and shapes.
        weight: Factor on the sum over layers; 0 measures without teaching.
        at: Which crucial layers get a hint.
        kd_weight: Factor on soft targets; 0 leaves them out.
        temperature: Of the soft targets, > 0.

    Source: Romero et al. 2015, arXiv 1412.6550, equation 3. The paper takes half the sum over entries, trains
        up to the hinted layer on it alone before a second stage with soft targets, and its adaptor is a
        convolution that also mends sizes. As in RepDistiller and mdistiller, whose weight 100 and middle
        layer are the defaults, there is one stage, the square is averaged over entries, and batch norm keeps
        the adaptor stable at that weight; unlike theirs our adaptor has no ReLU, and none stands between
        features of the same number of channels.
    """

    name: ClassVar[str] = "fitnet"

    def __init__(
        self,
        context: TransferContext,
        *,
        weight: Weight = 100.0,
        at: At = "middle",
        kd_weight: Weight = 0.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__(context, weight=weight, at=at, kd_weight=kd_weight, temperature=temperature)
        pairs = zip(self.student_shapes, self.teacher_shapes, strict=True)
        self.adaptors = nn.ModuleList(_adaptor(student[0], teacher[0]) for student, teacher in pairs)

    def losses(self, student: Sequence[Tensor], teacher: Sequence[Tensor], batch: Batch) -> Sequence[Tensor]:
        """Return each layer's mean squared difference."""
        losses = []
        for adaptor, own, hint in zip(self.adaptors, student, teacher, strict=True):
            own_pooled, hint_pooled = common_size(own, hint)
            losses.append(functional.mse_loss(adaptor(own_pooled), hint_pooled))
        return losses


def _adaptor(student: int, teacher: int) -> nn.Module:
    if student == teacher:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(student, teacher, 1, bias=False), nn.BatchNorm2d(teacher))
