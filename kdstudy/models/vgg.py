"""VGG with batch norm for small images (Simonyan, Zisserman 2015), as distillation papers size and name it.

Source: Simonyan, Zisserman, *Very Deep Convolutional Networks for Large-Scale Image Recognition*, arXiv
1409.1556 (configuration B is VGG-13); one linear layer in place of three, VGG-8 with one convolution a block,
module names and initialisation as in RepDistiller (Tian et al., arXiv 1910.10699), so that its checkpoints
load by name.

Deviations: each block ends with its ReLU, where RepDistiller applies it outside, so the block is the crucial
layer; no ReLU works in place. Three poolings halve the image, which must therefore be 8 x 8 at least; a
fourth runs from 64 pixels up (RepDistiller: at exactly 64).

Shapes: B images, C channels, H and W positions, K classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import final

from torch import Tensor, nn

LARGE = 64
"""Images of this height get a fourth pooling; smaller ones would leave too few positions."""

_WIDTHS = (64, 128, 256, 512, 512)


@final
class VGG(nn.Module):
    """Blocks ``block0`` to ``block4`` with pooling between the first four, global pooling and ``classifier``.

    Args:
        depths: Convolutions of each of the five blocks.
        num_classes: K.
        in_channels: C of the images.
    """

    def __init__(self, depths: Sequence[int], *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        channels = (in_channels, *_WIDTHS)
        self.block0, self.block1, self.block2, self.block3, self.block4 = (
            _block(before, after, depth)
            for (before, after), depth in zip(itertools.pairwise(channels), depths, strict=True)
        )
        self.pool0, self.pool1, self.pool2, self.pool3 = (nn.MaxPool2d(2) for _ in range(4))
        self.pool4 = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(_WIDTHS[-1], num_classes)
        nn.init.normal_(self.classifier.weight, 0, 0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return logits (B, K)."""
        x_BCHW = self.pool0(self.block0(images_BCHW))
        x_BCHW = self.pool1(self.block1(x_BCHW))
        x_BCHW = self.block3(self.pool2(self.block2(x_BCHW)))
        if images_BCHW.shape[2] >= LARGE:
            x_BCHW = self.pool3(x_BCHW)
        x_BCHW = self.pool4(self.block4(x_BCHW))
        logits_BK: Tensor = self.classifier(x_BCHW.flatten(1))
        return logits_BK


def _block(channels_in: int, channels: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(convolutions):
        convolution = nn.Conv2d(channels if index else channels_in, channels, 3, padding=1)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
        layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers)


def vgg8(num_classes: int, in_channels: int) -> VGG:
    """Build VGG-8 with batch norm: one convolution a block, 3.97 M parameters for 100 classes.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images, which must be 8 x 8 at least.

    Source: Simonyan, Zisserman, arXiv 1409.1556, cut down as in RepDistiller, arXiv 1910.10699.
    """
    return VGG((1, 1, 1, 1, 1), num_classes=num_classes, in_channels=in_channels)


def vgg13(num_classes: int, in_channels: int) -> VGG:
    """Build VGG-13 with batch norm (arXiv 1409.1556, B): two convolutions a block, 9.46 M; see `vgg8`."""
    return VGG((2, 2, 2, 2, 2), num_classes=num_classes, in_channels=in_channels)
