"""Images made from a seed, for tests: quick, of any shape, and learnable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from kdstudy.data.dataset import Augmentation, Source, Split, channel_statistics

TILES = 4


def load(  # noqa: PLR0913 - each keyword is a key of the study file
    root: Path,
    download: bool,
    *,
    num_classes: Annotated[int, Ge(2)] = 4,
    size: Annotated[int, Ge(4)] = 8,
    channels: Annotated[int, Ge(1)] = 1,
    count: Annotated[int, Ge(2)] = 256,
    noise: Annotated[int, Ge(0), Le(255)] = 96,
    seed: Annotated[int, Ge(0)] = 0,
) -> Source:
    """Make images of ``num_classes`` tile patterns under noise, in whole numbers, so alike on every machine.

    Args:
        root: Not needed.
        download: Not needed.
        num_classes: Classes, >= 2, equally frequent.
        size: Height and width in pixels, >= 4.
        channels: Channels, >= 1.
        count: Training images, >= 2; the test split has half as many.
        noise: Largest amount added to or taken from a pixel, in grey levels from 0 (none) to 255 (hopeless).
        seed: Of patterns and noise.
    """
    generator = torch.Generator().manual_seed(seed)
    tiles = torch.randint(0, 256, (num_classes, channels, TILES, TILES), generator=generator)
    tile = -(-size // TILES)
    patterns = tiles.repeat_interleave(tile, 2).repeat_interleave(tile, 3)[:, :, :size, :size]
    train = _draw(patterns, count, noise, generator)
    test = _draw(patterns, max(count // 2, num_classes), noise, generator)
    mean, std = channel_statistics(train.images)
    return Source(num_classes=num_classes, train=train, test=test, mean=mean, std=std, augmentation=Augmentation(pad=1))


def _draw(patterns: Tensor, count: int, noise: int, generator: torch.Generator) -> Split:
    labels = torch.arange(count) % len(patterns)
    added = torch.randint(-noise, noise + 1, (count, *patterns.shape[1:]), generator=generator)
    return Split((patterns[labels] + added).clamp(0, 255).to(torch.uint8), labels)
