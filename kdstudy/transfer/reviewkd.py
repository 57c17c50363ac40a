"""Knowledge review: deep layers of the student help its shallow ones to match the teacher's.

Shapes: B samples, C channels, H and W positions, M channels in the middle of a fusion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdstudy.data import Batch
from kdstudy.transfer.base import Temperature, TransferContext, Weight
from kdstudy.transfer.features import FeatureTransfer, Warmup, WarmupEpochs, pooled
from kdstudy.transfer.maps import resize

_WIDEST = 512
_LEVELS = (4, 2, 1)
POOLED = "pooled"


class ReviewTransfer(FeatureTransfer):
    """Matches features of a student whose layers are fused with all deeper ones before they are compared.

    From the deepest level to the shallowest: x = bn(conv1x1(A_S)); with the residual y of the next deeper
    level, enlarged to x's size, and two maps (g, h) = sigmoid(conv1x1([x, y])), the new residual is ``g x + h
    y`` (attention-based fusion), brought to the size of the teacher's feature; ``f = bn(conv3x3(residual))``
    is compared with it. The levels are the crucial layers and, deepest, the last one's mean over positions.
    The loss of a level (hierarchical context loss) is the weighed mean of ``mean((f - A_T)^2)`` at full size,
    weight 1, and of both averaged to 4x4, 2x2 and 1x1 where they are higher than that, with weights 1/2, 1/4,
    1/8 in that order of those that are left.

    The gradient of a layer's term reaches deeper layers too, through the residual.

    Args:
        context: Networks and shapes.
        weight: Factor on the sum over levels; 0 measures without teaching.
        warmup: Epochs over which the weight rises to its full value; 0: at once.
        kd_weight: Factor on soft targets; 0 leaves them out.
        temperature: Of the soft targets, > 0.

    Source: Chen et al. 2021, arXiv 2104.09044, figure 3, and the authors' code. Widths (M = the deepest
        layer's channels, at most 512), batch norms, initialisation and weight 1 are the code's. It compares
        with the teacher's features before their last ReLU; here they are the outputs of the crucial layers,
        usually after it. It warms up over 20 of 240 epochs, by whole epochs; here the factor rises at every
        step and the default is none, since a study may have fewer epochs than that.
    """

    name: ClassVar[str] = "reviewkd"

    def __init__(
        self,
        context: TransferContext,
        *,
        weight: Weight = 1.0,
        warmup: WarmupEpochs = 0.0,
        kd_weight: Weight = 0.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__(context, weight=weight, at="all", kd_weight=kd_weight, temperature=temperature)
        self.warmup = Warmup(warmup, context.num_train)
        self.parts = (*self.layers, POOLED)
        student = [shape[0] for shape in context.student_shapes]
        teacher = [shape[0] for shape in context.teacher_shapes]
        width = min(student[-1], _WIDEST)
        self.fusions = nn.ModuleList(
            Fusion(own, width, target, deepest=part == POOLED)
            for part, own, target in zip(self.parts, [*student, student[-1]], [*teacher, teacher[-1]], strict=True)
        )

    def losses(self, student: Sequence[Tensor], teacher: Sequence[Tensor], batch: Batch) -> Mapping[str, Tensor]:
        """Return each level's hierarchical context loss, the shallowest first."""
        factor = self.warmup(len(batch.labels))
        levels = list(zip(self.parts, self.fusions, _with_pooled(student), _with_pooled(teacher), strict=True))
        residual: Tensor | None = None
        losses: dict[str, Tensor] = {}
        for part, fusion, own, target in reversed(levels):
            feature, residual = fusion(own, residual, target.shape[-2:])
            losses[part] = factor * context_loss(feature, target)
        return dict(reversed(losses.items()))


class Fusion(nn.Module):
    """One level's attention-based fusion.

    Args:
        channels: Of the student's feature.
        width: M, of the residuals.
        teacher_channels: Of the feature to compare with.
        deepest: There is no residual to fuse, so there are no gates.
    """

    def __init__(self, channels: int, width: int, teacher_channels: int, *, deepest: bool) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
        self.gates = None if deepest else nn.Sequential(nn.Conv2d(2 * width, 2, 1), nn.Sigmoid())
        self.leave = nn.Sequential(
            nn.Conv2d(width, teacher_channels, 3, padding=1, bias=False), nn.BatchNorm2d(teacher_channels)
        )
        for block in (self.enter, self.leave):
            convolution = block[0]
            assert isinstance(convolution, nn.Conv2d)
            nn.init.kaiming_uniform_(convolution.weight, a=1)

    def forward(self, own: Tensor, residual: Tensor | None, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the feature (B, C, H, W) to compare at ``size``, and the residual (B, M, H, W)."""
        x: Tensor = self.enter(own)
        if self.gates is not None and residual is not None:
            y = _nearest(residual, x.shape[-2:])
            gates = self.gates(torch.cat([x, y], dim=1))
            x = gates[:, :1] * x + gates[:, 1:] * y
        x = _nearest(x, size)
        return self.leave(x), x


def context_loss(student_BCHW: Tensor, teacher_BCHW: Tensor) -> Tensor:
    """Return the hierarchical context loss of two features of one shape."""
    total, weight, weights = functional.mse_loss(student_BCHW, teacher_BCHW), 1.0, 1.0
    for size in _LEVELS:
        if size < min(student_BCHW.shape[-2:]):
            weight /= 2
            weights += weight
            shrunk = resize(student_BCHW, (size, size)), resize(teacher_BCHW, (size, size))
            total = total + weight * functional.mse_loss(*shrunk)
    return total / weights


def _with_pooled(features: Sequence[Tensor]) -> list[Tensor]:
    return [*features, pooled(features[-1])[:, :, None, None]]


def _nearest(feature: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(feature.shape[-2:]) == tuple(size):
        return feature
    return functional.interpolate(feature, tuple(size), mode="nearest")
