"""What a data set is, in lines for people: before a study and when it starts."""

from __future__ import annotations

import json
from collections.abc import Iterator

import torch
from torch import Tensor

from kdstudy.data.dataset import Dataset
from kdstudy.data.stored import StoredImages

SHOWN = 12
"""More classes are told by their number and the range of their sizes."""


def data_lines(data: Dataset) -> Iterator[str]:
    """Yield where a data set lies, how many images each part and class has, and what else one should know."""
    channels, height, width = data.image_shape
    place = f" in {data.place}" if data.place else ""
    yield (
        f"data: {data.name}{place}, images of {channels} x {height} x {width}: {len(data.train)} to train, "
        f"{len(data.val)} to validate, {data.num_test} to test"
    )
    yield f"data: {_classes(data)}"
    if data.augmentation.named:
        steps = (f"{step.name} {json.dumps(step.options)}" for step in data.augmentation.named)
        yield f"data: training images are changed by {', '.join(steps).replace(' {}', '')}"
    for note in data.notes:
        yield f"data: {note}"


def class_counts(data: Dataset) -> list[dict[str, object]]:
    """Return each class's name and how many images of the official training split it has, both parts of it."""
    names = data.classes or tuple(map(str, range(data.num_classes)))
    parts = [_count(data, part.labels).tolist() for part in (data.train, data.val)]
    return [{"name": name, "train": train, "val": val} for name, train, val in zip(names, *parts, strict=True)]


def shortages(data: Dataset, batch: int) -> list[str]:
    """Return a line about batches of so many images if shared memory cannot hold those of the decoding processes."""
    images = data.train.images
    largest = min(batch, max(len(data.train), len(data.val), data.num_test))
    found = images.shortage(largest) if isinstance(images, StoredImages) else None
    return [] if found is None else [found]


def _classes(data: Dataset) -> str:
    counts = (_count(data, data.train.labels) + _count(data, data.val.labels)).tolist()
    what = "labels" if data.multilabel else "classes"
    of = "training and validation images"
    if data.num_classes > SHOWN:
        return f"{data.num_classes} {what} with {min(counts)} to {max(counts)} {of} each"
    names = data.classes or tuple(map(str, range(data.num_classes)))
    listed = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    return f"{data.num_classes} {what} ({of}): {listed}"


def _count(data: Dataset, labels: Tensor) -> Tensor:
    return labels.sum(dim=0).long() if data.multilabel else torch.bincount(labels, minlength=data.num_classes)
