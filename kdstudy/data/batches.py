"""Batches from a split in memory: a whole batch is gathered, shifted and flipped at once, on the device.

Shapes: N images of the split, B of a batch, C channels, H and W positions, P padding.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from kdstudy.data.dataset import Augmentation, Split

Batch = tuple[Tensor, Tensor, Tensor]
"""Images (B, C, H, W) float32 in [0, 1], labels, and indices (B,) int64 in the split; all on the device."""


def num_batches(size: int, batch_size: int) -> int:
    """Return how many batches an epoch over ``size`` images has: whole ones only, but always one."""
    return max(size // batch_size, 1)


def batches(
    split: Split,
    *,
    batch_size: int,
    augmentation: Augmentation,
    order: torch.Generator,
    augment: torch.Generator,
    device: torch.device | str,
) -> Iterator[Batch]:
    """Yield the augmented training batches of one epoch.

    Every image has a shift and a flip of its own, drawn for the whole epoch at the start and addressed by its
    index: they do not depend on order or batch size. A last batch that is not full is left out, unless it is
    the only one.

    Args:
        split: The training images; move it to the device once, else each epoch does.
        batch_size: B, >= 1.
        augmentation: What may be drawn.
        order: CPU stream of the order.
        augment: CPU stream of shifts and flips.
        device: Where the batches are made and stay.
    """
    split = split.to(device)
    size = len(split)
    order_N = torch.randperm(size, generator=order).to(device)
    shift_N2 = torch.randint(0, 2 * augmentation.pad + 1, (size, 2), generator=augment).to(device)
    flip_N = torch.randint(0, 2, (size,), generator=augment).bool().to(device) & augmentation.flip
    for number in range(num_batches(size, batch_size)):
        indices_B = order_N[number * batch_size : (number + 1) * batch_size]
        images = split.images[indices_B]
        if augmentation.pad or augmentation.flip:
            images = shift_and_flip(images, shift_N2[indices_B], flip_N[indices_B], augmentation.pad)
        yield _as_float(images), split.labels[indices_B], indices_B


def eval_batches(split: Split, batch_size: int, device: torch.device | str) -> Iterator[Batch]:
    """Yield every image once, in order and unchanged; the last batch may be smaller."""
    split = split.to(device)
    for start in range(0, len(split), batch_size):
        indices_B = torch.arange(start, min(start + batch_size, len(split)), device=device)
        yield _as_float(split.images[indices_B]), split.labels[indices_B], indices_B


def shift_and_flip(images_BCHW: Tensor, shift_B2: Tensor, flip_B: Tensor, pad: int) -> Tensor:
    """Cut a window of the original size out of each zero-padded image, then mirror some of them.

    Args:
        images_BCHW: Of any type.
        shift_B2: First row and column of each window in the padded image, int64 in [0, 2 pad].
        flip_B: Whether the window is mirrored left to right.
        pad: Zeros on each side, in pixels.
    """
    batch, channels, height, width = images_BCHW.shape
    padded = functional.pad(images_BCHW, (pad, pad, pad, pad))
    across = torch.arange(width, device=padded.device)
    rows_BH1 = (shift_B2[:, :1] + torch.arange(height, device=padded.device))[:, :, None]
    columns_B1W = (shift_B2[:, 1:] + torch.where(flip_B[:, None], width - 1 - across, across))[:, None, :]
    # One gather over flattened positions, shared by the channels.
    positions = (rows_BH1 * padded.shape[3] + columns_B1W).view(batch, 1, height * width)
    gathered = padded.flatten(2).gather(2, positions.expand(batch, channels, height * width))
    return gathered.view(batch, channels, height, width)


def _as_float(images: Tensor) -> Tensor:
    return images.float().div_(255)
