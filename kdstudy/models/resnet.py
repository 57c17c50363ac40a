"""ResNets for small images (He et al. 2016, section 4.2), as distillation papers size and name them.

Source: He, Zhang, Ren, Sun, *Deep Residual Learning for Image Recognition*, arXiv 1512.03385; widths, module
names and initialisation as in RepDistiller (Tian et al., arXiv 1910.10699), so that its checkpoints load by
name. The ``x4`` networks are RepDistiller's: a stem of 32 channels, then 64, 128 and 256.

Deviations: pooling is global whatever the image size (RepDistiller pools 8 x 8), so images of any size and
channel count are accepted; no ReLU works in place (derivative maps and hooks need its input).

Shapes: B images, C channels, H and W positions, K classes.
"""

from __future__ import annotations

from typing import Literal, final

from torch import Tensor, nn
from torch.nn import functional

Shortcut = Literal["A", "B"]
Widths = tuple[int, int, int, int]

_NARROW: Widths = (16, 16, 32, 64)
_WIDE: Widths = (32, 64, 128, 256)


@final
class SubsampleAndPad(nn.Module):
    """The parameter-free shortcut A: every ``stride``-th position, missing channels filled with zeros.

    The zeros are split evenly before and after the channels, as in the public CIFAR-10 checkpoints
    (akamaster/pytorch_resnet_cifar10); the paper does not say where they go.

    Args:
        extra: Channels to add.
        stride: Distance of the positions kept.
    """

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.before = extra // 2
        self.after = extra - self.before
        self.stride = stride

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, C + extra, H / stride, W / stride), sizes rounded up."""
        kept = x_BCHW[:, :, :: self.stride, :: self.stride]
        return functional.pad(kept, (0, 0, 0, 0, self.before, self.after))


@final
class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.downsample = _downsample(channels_in, channels, stride, shortcut)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the block's output, (B, channels, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x_BCHW)))
        out = self.bn2(self.conv2(out))
        out_BCHW: Tensor = self.relu(out + self.downsample(x_BCHW))
        return out_BCHW


def _downsample(channels_in: int, channels: int, stride: int, shortcut: Shortcut) -> nn.Module:
    if stride == 1 and channels_in == channels:
        return nn.Identity()
    if shortcut == "A":
        return SubsampleAndPad(channels - channels_in, stride)
    projection = nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(channels))


@final
class ResNet(nn.Module):
    """A stem, three stages ``layer1`` to ``layer3`` (the last two halve the size), global pooling and ``fc``.

    Args:
        depth: Weighted layers, 6 n + 2 with n >= 1 blocks a stage.
        widths: Channels of the stem and of the three stages.
        num_classes: K.
        in_channels: C of the images.
        shortcut: How a block whose input and output shapes differ adds them.
    """

    def __init__(self, depth: int, widths: Widths, *, num_classes: int, in_channels: int, shortcut: Shortcut) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.layer1 = _stage(widths[0], widths[1], 1, blocks, shortcut)
        self.layer2 = _stage(widths[1], widths[2], 2, blocks, shortcut)
        self.layer3 = _stage(widths[2], widths[3], 2, blocks, shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return logits (B, K)."""
        x_BCHW = self.relu(self.bn1(self.conv1(images_BCHW)))
        x_BCHW = self.layer3(self.layer2(self.layer1(x_BCHW)))
        logits_BK: Tensor = self.fc(self.avgpool(x_BCHW).flatten(1))
        return logits_BK


def _stage(channels_in: int, channels: int, stride: int, blocks: int, shortcut: Shortcut) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1, shortcut) for _ in range(blocks - 1)))


def resnet8(num_classes: int, in_channels: int, *, shortcut: Shortcut = "B") -> ResNet:
    """Build ResNet-8: one block a stage, 16 to 64 channels, 0.078 M parameters for 10 classes.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        shortcut: ``A`` subsamples and pads with zeros (He et al. 2016 on CIFAR), ``B`` projects by a 1x1
            convolution and batch normalisation (the distillation literature; the default).

    Source: He, Zhang, Ren, Sun, arXiv 1512.03385, section 4.2; sized as in RepDistiller, arXiv 1910.10699.
    """
    return ResNet(8, _NARROW, num_classes=num_classes, in_channels=in_channels, shortcut=shortcut)


def resnet14(num_classes: int, in_channels: int, *, shortcut: Shortcut = "B") -> ResNet:
    """Build ResNet-14: two blocks a stage, 16 to 64 channels, 0.175 M parameters; see `resnet8`."""
    return ResNet(14, _NARROW, num_classes=num_classes, in_channels=in_channels, shortcut=shortcut)


def resnet20(num_classes: int, in_channels: int, *, shortcut: Shortcut = "B") -> ResNet:
    """Build ResNet-20: three blocks a stage, 16 to 64 channels, 0.27 M parameters; see `resnet8`."""
    return ResNet(20, _NARROW, num_classes=num_classes, in_channels=in_channels, shortcut=shortcut)


def resnet32(num_classes: int, in_channels: int, *, shortcut: Shortcut = "B") -> ResNet:
    """Build ResNet-32: five blocks a stage, 16 to 64 channels, 0.47 M parameters; see `resnet8`."""
    return ResNet(32, _NARROW, num_classes=num_classes, in_channels=in_channels, shortcut=shortcut)


def resnet56(num_classes: int, in_channels: int, *, shortcut: Shortcut = "B") -> ResNet:
    """Build ResNet-56: nine blocks a stage, 16 to 64 channels, 0.86 M parameters; see `resnet8`."""
    return ResNet(56, _NARROW, num_classes=num_classes, in_channels=in_channels, shortcut=shortcut)


def resnet110(num_classes: int, in_channels: int, *, shortcut: Shortcut = "B") -> ResNet:
    """Build ResNet-110: eighteen blocks a stage, 16 to 64 channels, 1.73 M parameters; see `resnet8`."""
    return ResNet(110, _NARROW, num_classes=num_classes, in_channels=in_channels, shortcut=shortcut)


def resnet8x4(num_classes: int, in_channels: int, *, shortcut: Shortcut = "B") -> ResNet:
    """Build RepDistiller's ResNet-8x4: one block a stage, 64 to 256 channels, 1.2 M; see `resnet8`."""
    return ResNet(8, _WIDE, num_classes=num_classes, in_channels=in_channels, shortcut=shortcut)


def resnet32x4(num_classes: int, in_channels: int, *, shortcut: Shortcut = "B") -> ResNet:
    """Build RepDistiller's ResNet-32x4: five blocks a stage, 64 to 256 channels, 7.4 M; see `resnet8`."""
    return ResNet(32, _WIDE, num_classes=num_classes, in_channels=in_channels, shortcut=shortcut)
