"""A network of a user's own that begins with the weights of a file, and such files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from kdstudy.models import with_weights
from kdstudy.models.resnet import resnet8

PLUGIN = "tests.begun:begun"


def begun(num_classes: int, in_channels: int, *, weights: str) -> nn.Module:
    """Build a ResNet-8, with the weights of a file or ``none``."""
    network = resnet8(num_classes, in_channels)
    if weights == "none":
        return network
    mean, std = (0.25,) * in_channels, (0.5,) * in_channels
    return with_weights(network, weights, num_classes=num_classes, name="tiny", mean=mean, std=std, size=8)


def weights_file(path: Path, *, classes: int = 10, channels: int = 1, seed: int = 5) -> Path:
    """Write the state dict of a ResNet-8 with weights of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.save(resnet8(classes, channels).state_dict(), path)
    return path
