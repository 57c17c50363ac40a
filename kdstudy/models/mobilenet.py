"""MobileNetV2 for small images (Sandler et al. 2018), as distillation papers size and name it.

Source: Sandler, Howard, Zhu, Zhmoginov, Chen, *MobileNetV2: Inverted Residuals and Linear Bottlenecks*, arXiv
1801.04381; strides, half width, module names and initialisation as in RepDistiller (Tian et al., arXiv
1910.10699), so that its checkpoints load by name. Like RepDistiller, and unlike the paper, it has ReLU where
the paper has ReLU6, no stride in the second group of blocks, no dropout, and widths that are halved without
rounding to multiples of 8.

Deviations: pooling is global whatever the image size (RepDistiller asks for multiples of 32); no ReLU works
in place. Images of any size are accepted, but stem and blocks divide it by 16: a 32 x 32 image ends at 2 x 2,
an 8 x 8 image at a single position.

Shapes: B images, C channels, H and W positions, K classes.
"""

from __future__ import annotations

from typing import Annotated, final

from annotated_types import Gt
from torch import Tensor, nn

Width = Annotated[float, Gt(0)]

STEM = 32
LAST = 1280
# Channels, blocks and first stride of each group. The first group does not expand.
_GROUPS = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


@final
class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter each channel by a 3x3, and reduce by a 1x1 without activation."""

    def __init__(self, channels_in: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = channels_in * expansion
        self.conv = nn.Sequential(
            *_activated(channels_in, middle, 1),
            *_activated(middle, middle, 3, stride=stride, groups=middle),
            nn.Conv2d(middle, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.adds = stride == 1 and channels_in == channels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the block's output, (B, channels, H / stride, W / stride)."""
        out_BCHW: Tensor = self.conv(x_BCHW)
        return x_BCHW + out_BCHW if self.adds else out_BCHW


def _activated(
    channels_in: int, channels: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(
        channels_in, channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )
    return convolution, nn.BatchNorm2d(channels), nn.ReLU()


@final
class MobileNetV2(nn.Module):
    """A stem ``conv1``, seven groups ``blocks.0`` to ``blocks.6``, ``conv2``, global pooling, ``classifier``.

    Args:
        width: Factor on all channels but the last ones, > 0; those grow with it from 1 up only.
        expansion: T, the factor on channels inside a block.
        num_classes: K.
        in_channels: C of the images.
    """

    def __init__(self, width: float, expansion: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        channels = max(1, int(STEM * width))
        self.conv1 = nn.Sequential(*_activated(in_channels, channels, 3, stride=2))
        self.blocks = nn.ModuleList()
        for index, (full, count, stride) in enumerate(_GROUPS):
            group = nn.Sequential()
            for step in range(count):
                after = max(1, int(full * width))
                group.append(InvertedResidual(channels, after, 1 if step else stride, expansion if index else 1))
                channels = after
            self.blocks.append(group)
        last = int(LAST * max(1.0, width))
        self.conv2 = nn.Sequential(*_activated(channels, last, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return logits (B, K)."""
        x_BCHW = self.conv1(images_BCHW)
        for group in self.blocks:
            x_BCHW = group(x_BCHW)
        logits_BK: Tensor = self.classifier(self.avgpool(self.conv2(x_BCHW)).flatten(1))
        return logits_BK


def mobilenetv2(num_classes: int, in_channels: int, *, width: Width = 0.5) -> MobileNetV2:
    """Build RepDistiller's MobileNetV2: half width, expansion 6, 0.81 M parameters for 100 classes.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        width: Factor on the paper's channels, > 0.

    Source: Sandler et al., arXiv 1801.04381; sized as in RepDistiller, arXiv 1910.10699.
    """
    return MobileNetV2(width, 6, num_classes=num_classes, in_channels=in_channels)
