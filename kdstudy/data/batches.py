"""Batches from a split: a whole batch is gathered, shifted, mirrored, scaled and cut at once, on the device.

Augmentations that a study file lists change one image at a time, on the CPU: see `kdstudy.data.named`.

Shapes: N images of the split, B of a batch, C channels, H and W positions, P padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kdstudy.data.dataset import Augmentation, Dataset, Split
from kdstudy.data.named import EpochChange, middle, names_of
from kdstudy.data.pixels import cut_out, draw_windows, scale_windows, shift_and_flip
from kdstudy.data.stored import StoredImages
from kdstudy.errors import DataError


class Batch(NamedTuple):
    """Some images of a split, all three tensors on one device.

    Where several ranks train on a batch, each has its own rows of the images, and all labels and indices.

    Attributes:
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) int64 class, or (B, K) float32 in {0, 1} for multi-label data.
        indices: (B,) int64 position of each image in the split.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


EVERY = slice(None)
"""Every row of a batch."""
SEEDS = 2**62
"""An epoch's seed for named augmentations is drawn from so many."""


def num_batches(size: int, batch_size: int) -> int:
    """Return how many batches an epoch over ``size`` images has: whole ones only, but always one."""
    return max(size // batch_size, 1)


def batches(  # noqa: PLR0913 -- keyword-only
    split: Split,
    *,
    batch_size: int,
    augmentation: Augmentation,
    order: torch.Generator,
    augment: torch.Generator,
    device: torch.device | str,
    rows: slice = EVERY,
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
        rows: Of each batch whose images are made; its labels and indices are all there.

    Raises:
        DataError: An image file cannot be read.
    """
    size = len(split)
    chunks = torch.randperm(size, generator=order).split(batch_size)[: num_batches(size, batch_size)]
    yield from _viewed(split.to(device), chunks, augmentation, augment, device, rows)


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
        DataError: Windows are scaled or squares cut out, at places too many to count; or augmentations are named.
    """
    if augmentation.named or augmentation.crop < 1 or augmentation.cutout:
        what = "scaled from random windows" if augmentation.crop < 1 else "cut out at random places"
        if augmentation.named:
            what = f"changed by {names_of(augmentation.named)}"
        raise DataError(
            f"cache.mode: all_views needs views that can be counted, got training images that are {what}; write "
            "schedule, views or off"
        )
    return (2 * augmentation.pad + 1) ** 2 * (2 if augmentation.flip else 1)


def try_augmentation(data: Dataset) -> None:
    """Change one black image by the augmentations that are named, if any are: to see that they can, before training.

    Raises:
        DataError: One cannot.
        PluginError: One is not to be had.
    """
    named, train = data.augmentation.named, data.train
    if named:
        blank = torch.zeros(1, *train.images.shape[1:], dtype=torch.uint8)
        EpochChange(named, train.size, data.augmentation.mean, seed=0)(blank, torch.zeros(1, dtype=torch.int64))


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
    rows: slice = EVERY,
) -> Iterator[Batch]:
    if augmentation.named:
        assert not isinstance(view, int), "views of named augmentations have no number"
        yield from _changed(split, chunks, augmentation, view, device, rows)
        return
    if isinstance(view, int):
        views = _numbered_view(len(split), augmentation, view, device)
    else:
        views = _draw_views(split.images.shape, augmentation, view, device)
    own = [chunk[rows] for chunk in chunks]
    for indices_B, (own_indices, images) in zip(_moved(chunks, device), _gather(split, own, device), strict=True):
        changed = _augmented(images, views, own_indices, augmentation, split.size)
        yield Batch(changed, split.labels[indices_B], indices_B)


def _changed(
    split: Split,
    chunks: Sequence[Tensor],
    augmentation: Augmentation,
    view: torch.Generator,
    device: torch.device | str,
    rows: slice,
) -> Iterator[Batch]:
    """Yield batches changed by named augmentations: on the CPU, by the processes that decode if there are any."""
    seed = int(torch.randint(SEEDS, (), generator=view))
    change = EpochChange(augmentation.named, split.size, augmentation.mean, seed)
    own = [chunk[rows] for chunk in chunks]
    if isinstance(split.images, StoredImages):
        changed = split.images.stream(own, device, change)
    else:
        images = split.images.cpu()
        changed = (change(images[chunk], chunk).to(device) for chunk in own)
    for indices_B, made in zip(_moved(chunks, device), changed, strict=True):
        yield Batch(_as_float(made), split.labels[indices_B], indices_B)


def eval_batches(split: Split, batch_size: int, device: torch.device | str, rows: slice = EVERY) -> Iterator[Batch]:
    """Yield every image once, in order and unchanged; the last batch may be smaller.

    Args:
        split: The images.
        batch_size: At most so many at once, >= 1.
        device: Where the batches are made.
        rows: Of each batch.

    Raises:
        DataError: An image file cannot be read.
    """
    split = split.to(device)
    chunks = [own for chunk in torch.arange(len(split)).split(batch_size) if len(own := chunk[rows])]
    if not chunks:
        return
    for indices_B, images in _gather(split, chunks, device):
        yield Batch(_as_float(middle(images, split.size)), split.labels[indices_B], indices_B)


def _gather(split: Split, chunks: Sequence[Tensor], device: torch.device | str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the indices and the uint8 images of each chunk, both on the device."""
    indices = _moved(chunks, device)
    if isinstance(split.images, StoredImages):
        yield from zip(indices, split.images.stream(chunks, device), strict=True)
    else:
        for indices_B in indices:
            yield indices_B, split.images[indices_B]


def _moved(chunks: Sequence[Tensor], device: torch.device | str) -> list[Tensor]:
    """Move the indices of all chunks to the device at once: a step never waits for a copy."""
    return list(torch.cat(list(chunks)).to(device).split([len(chunk) for chunk in chunks]))


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


def _augmented(
    images_BCHW: Tensor, views: _Views, indices_B: Tensor, augmentation: Augmentation, size: tuple[int, int]
) -> Tensor:
    if augmentation.pad or augmentation.flip:
        images_BCHW = shift_and_flip(images_BCHW, views.shifts[indices_B], views.flips[indices_B], augmentation.pad)
    if views.windows is None:
        images_BCHW = middle(images_BCHW, size)
    images_BCHW = _as_float(images_BCHW)
    if views.windows is not None:
        images_BCHW = scale_windows(images_BCHW, views.windows[indices_B], size)
    if views.holes is not None:
        images_BCHW = cut_out(images_BCHW, views.holes[indices_B], augmentation.cutout)
    return images_BCHW


def _as_float(images: Tensor) -> Tensor:
    return images.float().div_(255)
