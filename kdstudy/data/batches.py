"""Batches from a split: a whole batch is gathered, shifted, mirrored, scaled and cut at once, on the device.

Shapes: N images of the split, B of a batch, C channels, H and W positions, P padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from kdstudy.data.dataset import Augmentation, Split
from kdstudy.data.files import ImageFiles
from kdstudy.errors import DataError


class Batch(NamedTuple):
    """Some images of a split, all three tensors on one device.

    Attributes:
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) int64 class, or (B, K) float32 in {0, 1} for multi-label data.
        indices: (B,) int64 position of each image in the split.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


LONGEST = 4 / 3
"""Largest ratio of the sides of a window that is scaled to the full size, relative to the image's own."""


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

    Every image has a view of its own, drawn for the whole epoch at the start and addressed by its index: it
    does not depend on order, batch size, or how many processes decode. A last batch that is not full is left
    out, unless it is the only one.

    Args:
        split: The training images; if they are in memory, move them to the device once, else each epoch does.
        batch_size: B, >= 1.
        augmentation: What may be drawn.
        order: CPU stream of the order.
        augment: CPU stream of the views.
        device: Where the batches are made and stay.

    Raises:
        DataError: An image file cannot be read.
    """
    size = len(split)
    chunks = torch.randperm(size, generator=order).split(batch_size)[: num_batches(size, batch_size)]
    yield from _viewed(split.to(device), chunks, augmentation, augment, device)


def view_batches(
    split: Split,
    *,
    batch_size: int,
    augmentation: Augmentation,
    view: torch.Generator | int,
    device: torch.device | str,
) -> Iterator[Batch]:
    """Yield one view of each image, in their own order, in full batches: the last one starts again from the front.

    Args:
        split: The training images.
        batch_size: B, >= 1.
        augmentation: What may be drawn.
        view: CPU stream of the views, the same as `batches` draws from it; or the number of one, as `views_drawn` says.
        device: Where the batches are made and stay.

    Raises:
        DataError: An image file cannot be read.
    """
    size = len(split)
    order = torch.arange(-(-size // batch_size) * batch_size) % size
    yield from _viewed(split.to(device), order.split(batch_size), augmentation, view, device)


def count_views(augmentation: Augmentation) -> int:
    """Return how many views of an image can be drawn: shifts by whole pixels, each as it is or mirrored.

    Raises:
        DataError: Windows are scaled or squares cut out, at places too many to count.
    """
    if augmentation.crop < 1 or augmentation.cutout:
        what = "scaled from random windows" if augmentation.crop < 1 else "cut out at random places"
        raise DataError(
            f"cache.mode: all_views needs views that can be counted, got training images that are {what}; write "
            "schedule, views or off"
        )
    return (2 * augmentation.pad + 1) ** 2 * (2 if augmentation.flip else 1)


def views_drawn(size: int, augmentation: Augmentation, augment: torch.Generator) -> Tensor:
    """Return which view of each image an epoch shows: (N,) int64 in [0, `count_views`).

    Args:
        size: N.
        augmentation: Of views that can be counted.
        augment: CPU stream of the views, as for `batches`.
    """
    drawn = _draw_views(torch.Size((size, 1, 1, 1)), augmentation, augment, "cpu")
    shift_N = drawn.shifts[:, 0] * (2 * augmentation.pad + 1) + drawn.shifts[:, 1]
    return 2 * shift_N + drawn.flips if augmentation.flip else shift_N


def _numbered_view(size: int, augmentation: Augmentation, number: int, device: torch.device | str) -> _Views:
    """Return one view for every image."""
    assert 0 <= number < count_views(augmentation)
    shift, flip = divmod(number, 2) if augmentation.flip else (number, 0)
    shift_2 = torch.tensor(divmod(shift, 2 * augmentation.pad + 1), device=device)
    return _Views(shift_2.expand(size, 2), torch.full((size,), bool(flip), device=device), None, None)


def _viewed(
    split: Split,
    chunks: Sequence[Tensor],
    augmentation: Augmentation,
    view: torch.Generator | int,
    device: torch.device | str,
) -> Iterator[Batch]:
    if isinstance(view, int):
        views = _numbered_view(len(split), augmentation, view, device)
    else:
        views = _draw_views(split.images.shape, augmentation, view, device)
    for indices_B, images in _gather(split, chunks, device):
        yield Batch(_augmented(images, views, indices_B, augmentation), split.labels[indices_B], indices_B)


def eval_batches(split: Split, batch_size: int, device: torch.device | str) -> Iterator[Batch]:
    """Yield every image once, in order and unchanged; the last batch may be smaller.

    Raises:
        DataError: An image file cannot be read.
    """
    split = split.to(device)
    chunks = torch.arange(len(split)).split(batch_size)
    for indices_B, images in _gather(split, chunks, device):
        yield Batch(_as_float(images), split.labels[indices_B], indices_B)


def _gather(split: Split, chunks: Sequence[Tensor], device: torch.device | str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the indices and the uint8 images of each chunk, both on the device."""
    # All indices move to the device at once: a step never waits for a copy.
    indices = torch.cat(list(chunks)).to(device).split([len(chunk) for chunk in chunks])
    if isinstance(split.images, ImageFiles):
        yield from zip(indices, split.images.stream(chunks, device), strict=True)
    else:
        for indices_B in indices:
            yield indices_B, split.images[indices_B]


class _Views(NamedTuple):
    """What was drawn for each image of an epoch; None where nothing of the kind is."""

    shifts: Tensor
    flips: Tensor
    windows: Tensor | None
    holes: Tensor | None


def _draw_views(
    shape: torch.Size, augmentation: Augmentation, augment: torch.Generator, device: torch.device | str
) -> _Views:
    size, _, height, width = shape
    shift_N2 = torch.randint(0, 2 * augmentation.pad + 1, (size, 2), generator=augment)
    flip_N = torch.randint(0, 2, (size,), generator=augment).bool() & augmentation.flip
    windows_N4 = holes_N2 = None
    if augmentation.crop < 1:
        windows_N4 = draw_windows(size, augmentation.crop, augment).to(device)
    if augmentation.cutout:
        places_N2 = torch.rand(size, 2, generator=augment, dtype=torch.float64)
        holes_N2 = (places_N2 * torch.tensor([height, width])).long().to(device)
    return _Views(shift_N2.to(device), flip_N.to(device), windows_N4, holes_N2)


def _augmented(images_BCHW: Tensor, views: _Views, indices_B: Tensor, augmentation: Augmentation) -> Tensor:
    if augmentation.pad or augmentation.flip:
        images_BCHW = shift_and_flip(images_BCHW, views.shifts[indices_B], views.flips[indices_B], augmentation.pad)
    images_BCHW = _as_float(images_BCHW)
    if views.windows is not None:
        images_BCHW = scale_windows(images_BCHW, views.windows[indices_B])
    if views.holes is not None:
        images_BCHW = cut_out(images_BCHW, views.holes[indices_B], augmentation.cutout)
    return images_BCHW


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


def scale_windows(images_BCHW: Tensor, windows_B4: Tensor) -> Tensor:
    """Scale a window of each image to the full size, bilinearly.

    Args:
        images_BCHW: Of a floating type.
        windows_B4: Top, left, height and width as shares of the image's sides.
    """
    top, left, height, width = windows_B4.unbind(dim=1)
    zero = torch.zeros_like(top)
    across = torch.stack([width, zero, 2 * left + width - 1], dim=1)
    down = torch.stack([zero, height, 2 * top + height - 1], dim=1)
    maps_B23 = torch.stack([across, down], dim=1)
    grid = functional.affine_grid(maps_B23, list(images_BCHW.shape), align_corners=False)
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


def _as_float(images: Tensor) -> Tensor:
    return images.float().div_(255)
