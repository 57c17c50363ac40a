"""ShuffleNet V1 and V2 for small images, as distillation papers size and name them.

Source: V1: Zhang, Zhou, Lin, Sun, *ShuffleNet*, arXiv 1707.01083. V2: Ma, Zhang, Zheng, Sun, *ShuffleNet V2*,
arXiv 1807.11164. The stem of a 1x1 convolution without stride or pooling, the numbers of blocks, module names
and initialisation (torch's) are RepDistiller's (Tian et al., arXiv 1910.10699), so that its checkpoints load
by name. As there, V1 shuffles after the first 1x1 convolution only, and its stages' first blocks count the
concatenated shortcut in their width.

Deviations: pooling is global whatever the image size (RepDistiller pools 4 x 4), so images of any size are
accepted, though three stages halve each: an 8 x 8 image ends at a single position. No ReLU works in place.

Shapes: B images, C channels, H and W positions, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

STEM = 24


@final
class Shuffle(nn.Module):
    """Deal the channels of ``groups`` groups round robin, so that every later group sees all of them."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the same channels in the order 0, n, 2 n, ..., 1, n + 1, ..., n being C / groups."""
        shuffled_BCHW: Tensor = x_BCHW.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)
        return shuffled_BCHW


def _pointwise(channels_in: int, channels: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, 1, groups=groups, bias=False)


def _depthwise(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)


@final
class BottleneckV1(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; the shortcut is added, or pooled and concatenated."""

    def __init__(self, channels_in: int, channels: int, stride: int, groups: int) -> None:
        super().__init__()
        middle = channels // 4
        # The stem's few channels are not divided (section 3.2 of the paper).
        first = 1 if channels_in == STEM else groups
        self.conv1 = _pointwise(channels_in, middle, first)
        self.bn1 = nn.BatchNorm2d(middle)
        self.shuffle1 = Shuffle(first)
        self.conv2 = _depthwise(middle, stride)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = _pointwise(middle, channels, groups)
        self.bn3 = nn.BatchNorm2d(channels)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the block's output: (B, channels, H, W), or with pooled input channels at half the size."""
        out = self.shuffle1(functional.relu(self.bn1(self.conv1(x_BCHW))))
        # RepDistiller has a ReLU after the depthwise convolution, the paper has none.
        out = self.bn3(self.conv3(functional.relu(self.bn2(self.conv2(out)))))
        joined = out + x_BCHW if self.pool is None else torch.cat([out, self.pool(x_BCHW)], 1)
        return functional.relu(joined)


@final
class ShuffleNetV1(nn.Module):
    """A stem, three stages ``layer1`` to ``layer3`` that halve the size, global pooling and ``linear``.

    Args:
        widths: Channels of the three stages.
        depths: Blocks of the three stages.
        groups: Of the 1x1 convolutions.
        num_classes: K.
        in_channels: C of the images.
    """

    def __init__(
        self, widths: Sequence[int], depths: Sequence[int], groups: int, *, num_classes: int, in_channels: int
    ) -> None:
        super().__init__()
        self.conv1 = _pointwise(in_channels, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU()
        channels = (STEM, *widths)
        self.layer1, self.layer2, self.layer3 = (
            _stage_v1(channels[index], channels[index + 1], depths[index], groups) for index in range(3)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(widths[-1], num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return logits (B, K)."""
        x_BCHW = self.relu(self.bn1(self.conv1(images_BCHW)))
        x_BCHW = self.layer3(self.layer2(self.layer1(x_BCHW)))
        logits_BK: Tensor = self.linear(self.avgpool(x_BCHW).flatten(1))
        return logits_BK


def _stage_v1(channels_in: int, channels: int, depth: int, groups: int) -> nn.Sequential:
    first = BottleneckV1(channels_in, channels - channels_in, 2, groups)
    return nn.Sequential(first, *(BottleneckV1(channels, channels, 1, groups) for _ in range(depth - 1)))


@final
class SplitBlockV2(nn.Module):
    """Half of the channels passes unchanged, half through 1x1, depthwise 3x3, 1x1; then a shuffle."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = _pointwise(half, half)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = _depthwise(half, 1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = _pointwise(half, half)
        self.bn3 = nn.BatchNorm2d(half)
        self.shuffle = Shuffle(2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the block's output, of its input's shape."""
        kept, out = x_BCHW.chunk(2, dim=1)
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(out)))))
        out = functional.relu(self.bn3(self.conv3(out)))
        out_BCHW: Tensor = self.shuffle(torch.cat([kept, out], 1))
        return out_BCHW


@final
class DownBlockV2(nn.Module):
    """Two branches at half the size, depthwise 3x3 and 1x1 each, concatenated and shuffled."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = _depthwise(channels_in, 2)
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv2 = _pointwise(channels_in, half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = _pointwise(channels_in, half)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = _depthwise(half, 2)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = _pointwise(half, half)
        self.bn5 = nn.BatchNorm2d(half)
        self.shuffle = Shuffle(2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the block's output, (B, channels, H / 2, W / 2)."""
        left = functional.relu(self.bn2(self.conv2(self.bn1(self.conv1(x_BCHW)))))
        right = self.bn4(self.conv4(functional.relu(self.bn3(self.conv3(x_BCHW)))))
        right = functional.relu(self.bn5(self.conv5(right)))
        out_BCHW: Tensor = self.shuffle(torch.cat([left, right], 1))
        return out_BCHW


@final
class ShuffleNetV2(nn.Module):
    """A stem, ``layer1`` to ``layer3`` that halve the size, ``conv2``, global pooling and ``linear``.

    Args:
        widths: Channels of the three stages, even, and of the last 1x1 convolution.
        depths: Blocks of the three stages after the one that halves.
        num_classes: K.
        in_channels: C of the images.
    """

    def __init__(self, widths: Sequence[int], depths: Sequence[int], *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = _pointwise(in_channels, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU()
        channels = (STEM, *widths)
        self.layer1, self.layer2, self.layer3 = (
            _stage_v2(channels[index], channels[index + 1], depths[index]) for index in range(3)
        )
        self.conv2 = _pointwise(widths[2], widths[3])
        self.bn2 = nn.BatchNorm2d(widths[3])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(widths[3], num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return logits (B, K)."""
        x_BCHW = self.relu(self.bn1(self.conv1(images_BCHW)))
        x_BCHW = self.layer3(self.layer2(self.layer1(x_BCHW)))
        x_BCHW = functional.relu(self.bn2(self.conv2(x_BCHW)))
        logits_BK: Tensor = self.linear(self.avgpool(x_BCHW).flatten(1))
        return logits_BK


def _stage_v2(channels_in: int, channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(DownBlockV2(channels_in, channels), *(SplitBlockV2(channels) for _ in range(depth)))


def shufflenetv1(num_classes: int, in_channels: int) -> ShuffleNetV1:
    """Build RepDistiller's ShuffleNetV1: 3 groups, 240 to 960 channels, 0.95 M parameters for 100 classes.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.

    Source: Zhang et al., arXiv 1707.01083; sized as in RepDistiller, arXiv 1910.10699.
    """
    return ShuffleNetV1((240, 480, 960), (4, 8, 4), 3, num_classes=num_classes, in_channels=in_channels)


def shufflenetv2(num_classes: int, in_channels: int) -> ShuffleNetV2:
    """Build RepDistiller's ShuffleNetV2: width 1, 116 to 464 channels, 1.36 M parameters for 100 classes.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.

    Source: Ma et al., arXiv 1807.11164; sized as in RepDistiller, arXiv 1910.10699.
    """
    return ShuffleNetV2((116, 232, 464, 1024), (3, 7, 3), num_classes=num_classes, in_channels=in_channels)
