"""Windows, shifts, mirrors and holes: what a whole batch of images goes through at once, each image its own.

Shapes: N images of a split, B of a batch, C channels, H and W positions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

LONGEST = 4 / 3
"""Largest ratio of the sides of a window that is scaled to the full size, relative to the image's own."""


def draw_windows(size: int, smallest: float, generator: torch.Generator) -> Tensor:
    """Draw a window in each image: top, left, height and width (N, 4) as float32 shares of the image's sides.

    Area uniform in [smallest, 1], ratio of the sides log-uniform in [3/4, 4/3] of the image's, place uniform.
    Where the window would be longer than the image it is cut (torchvision draws again instead).

    Args:
        size: N.
        smallest: Share of the area, in (0, 1].
        generator: On the CPU.

    Source: Szegedy et al. 2015, arXiv 1409.4842, section 6, whose smallest area is 8 %.
    """
    area, ratio, down, right = torch.rand(4, size, generator=generator, dtype=torch.float64)
    area = smallest + (1 - smallest) * area
    stretch = torch.exp((ratio - 0.5) * math.log(LONGEST))  # the root of the ratio
    height, width = (area.sqrt() / stretch).clamp(max=1), (area.sqrt() * stretch).clamp(max=1)
    return torch.stack([down * (1 - height), right * (1 - width), height, width], dim=1).float()


def scale_windows(images_BCHW: Tensor, windows_B4: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Scale a window of each image to the full size, bilinearly.

    Args:
        images_BCHW: Of a floating type.
        windows_B4: Top, left, height and width as shares of the image's sides.
        size: Height and width of what is returned; None for those of the images.
    """
    top, left, height, width = windows_B4.unbind(dim=1)
    zero = torch.zeros_like(top)
    across = torch.stack([width, zero, 2 * left + width - 1], dim=1)
    down = torch.stack([zero, height, 2 * top + height - 1], dim=1)
    maps_B23 = torch.stack([across, down], dim=1)
    shape = [*images_BCHW.shape[:2], *(size or images_BCHW.shape[2:])]
    grid = functional.affine_grid(maps_B23, shape, align_corners=False)
    return functional.grid_sample(images_BCHW, grid, padding_mode="border", align_corners=False)


def cut_out(images_BCHW: Tensor, centres_B2: Tensor, side: int) -> Tensor:
    """Blacken a square in each image; near the border a part of it falls outside.

    Args:
        images_BCHW: Of any type.
        centres_B2: Row and column, int64; of an even square, the one after its middle.
        side: Of the square, in pixels.

    Source: DeVries & Taylor 2017, arXiv 1708.04552.
    """
    start_B2 = centres_B2 - side // 2

    def inside(axis: int) -> Tensor:
        places = torch.arange(images_BCHW.shape[2 + axis], device=images_BCHW.device)
        offset = places - start_B2[:, axis, None]
        return (offset >= 0) & (offset < side)

    return images_BCHW.masked_fill((inside(0)[:, :, None] & inside(1)[:, None, :]).unsqueeze(1), 0)


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
