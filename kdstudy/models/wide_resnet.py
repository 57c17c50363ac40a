"""Wide residual networks (Zagoruyko and Komodakis 2016), as distillation papers size and name them.

Source: Zagoruyko, Komodakis, *Wide Residual Networks*, arXiv 1605.07146; module names and initialisation as
in RepDistiller (Tian et al., arXiv 1910.10699), so that its checkpoints load by name.

Deviations: pooling is global whatever the image size (RepDistiller pools 8 x 8), so images of any size and
channel count are accepted; no ReLU works in place (derivative maps and hooks need its input).

Shapes: B images, C channels, H and W positions, K classes.
"""

from __future__ import annotations

from typing import Annotated, final

from annotated_types import Ge, Lt
from torch import Tensor, nn

Dropout = Annotated[float, Ge(0), Lt(1)]


@final
class PreactivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions, and a shortcut.

    Where the number of channels changes, the shortcut is a 1x1 convolution of the activated input, under
    RepDistiller's name ``convShortcut``.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.projects = channels_in != channels or stride != 1
        if self.projects:
            self.convShortcut = nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the block's output, (B, channels, H / stride, W / stride)."""
        active = self.relu1(self.bn1(x_BCHW))
        out = self.dropout(self.relu2(self.bn2(self.conv1(active))))
        out_BCHW: Tensor = self.conv2(out) + (self.convShortcut(active) if self.projects else x_BCHW)
        return out_BCHW


@final
class Stage(nn.Module):
    """Blocks in a row; only the first changes the shape. The row is called ``layer``, as in RepDistiller."""

    def __init__(self, channels_in: int, channels: int, stride: int, blocks: int, dropout: float) -> None:
        super().__init__()
        first = PreactivationBlock(channels_in, channels, stride, dropout)
        rest = (PreactivationBlock(channels, channels, 1, dropout) for _ in range(blocks - 1))
        self.layer = nn.Sequential(first, *rest)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the last block's output."""
        out_BCHW: Tensor = self.layer(x_BCHW)
        return out_BCHW


@final
class WideResNet(nn.Module):
    """A stem of 16 channels, stages ``block1`` to ``block3``, batch norm, ReLU, global pooling and ``fc``.

    Args:
        depth: Weighted layers as the paper counts them, 6 n + 4 with n >= 1 blocks a stage.
        widen: Factor on the stages' channels 16, 32 and 64, >= 1.
        num_classes: K.
        in_channels: C of the images.
        dropout: Between the two convolutions of each block; probability in [0, 1).
    """

    def __init__(self, depth: int, widen: int, *, num_classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        widths = (16, 16 * widen, 32 * widen, 64 * widen)
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.block1 = Stage(widths[0], widths[1], 1, blocks, dropout)
        self.block2 = Stage(widths[1], widths[2], 2, blocks, dropout)
        self.block3 = Stage(widths[2], widths[3], 2, blocks, dropout)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[3], num_classes)
        nn.init.zeros_(self.fc.bias)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return logits (B, K)."""
        x_BCHW = self.block3(self.block2(self.block1(self.conv1(images_BCHW))))
        x_BCHW = self.relu(self.bn1(x_BCHW))
        logits_BK: Tensor = self.fc(self.avgpool(x_BCHW).flatten(1))
        return logits_BK


def wrn_16_1(num_classes: int, in_channels: int, *, dropout: Dropout = 0.0) -> WideResNet:
    """Build WRN-16-1: two blocks a stage, 16 to 64 channels, 0.18 M parameters for 100 classes.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        dropout: Between the two convolutions of each block; probability in [0, 1), 0 leaves it out.

    Source: Zagoruyko, Komodakis, arXiv 1605.07146; sized as in RepDistiller, arXiv 1910.10699.
    """
    return WideResNet(16, 1, num_classes=num_classes, in_channels=in_channels, dropout=dropout)


def wrn_16_2(num_classes: int, in_channels: int, *, dropout: Dropout = 0.0) -> WideResNet:
    """Build WRN-16-2 (arXiv 1605.07146): two blocks a stage, 32 to 128 channels, 0.70 M; see `wrn_16_1`."""
    return WideResNet(16, 2, num_classes=num_classes, in_channels=in_channels, dropout=dropout)


def wrn_40_1(num_classes: int, in_channels: int, *, dropout: Dropout = 0.0) -> WideResNet:
    """Build WRN-40-1 (arXiv 1605.07146): six blocks a stage, 16 to 64 channels, 0.57 M; see `wrn_16_1`."""
    return WideResNet(40, 1, num_classes=num_classes, in_channels=in_channels, dropout=dropout)


def wrn_40_2(num_classes: int, in_channels: int, *, dropout: Dropout = 0.0) -> WideResNet:
    """Build WRN-40-2 (arXiv 1605.07146): six blocks a stage, 32 to 128 channels, 2.26 M; see `wrn_16_1`."""
    return WideResNet(40, 2, num_classes=num_classes, in_channels=in_channels, dropout=dropout)
