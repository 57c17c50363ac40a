"""A user's own map-style data sets, `torch.utils.data.Dataset` or alike, as the source of a study's images.

Shapes: N items, C channels, K classes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset

from kdstudy.data.dataset import IMAGENET_MEAN, IMAGENET_STD, Augmentation, Source, Split, channel_statistics
from kdstudy.data.decode import Fit
from kdstudy.data.items import SAMPLE, ItemImages, Items, Label
from kdstudy.data.split import hold_out
from kdstudy.data.stored import FINGERPRINT_BYTES, GIGABYTE
from kdstudy.errors import DataError
from kdstudy.seeds import derive

PROBES = 16
"""So many items of each part are read twice, to see that they are the same each time."""


@dataclass(frozen=True, eq=False)
class TrainTest:
    """Two data sets of the user's own, and how they are looked at. A function may also return only the pair.

    An item is ``(image, label)``: a PIL image, which becomes RGB; or uint8 or float in [0, 1], a tensor (C, H, W) or an
    array (H, W, C). The label is an int from 0, or K numbers 0 or 1 where an image has any number of classes.

    Args:
        train: With ``len()`` and ``[index]``, the same item each time.
        test: Likewise; None to hold out ``test_fraction`` of the training items.
        size: Side that images are brought to, in pixels; None where all have one size.
        fit: How: ``crop`` scales the shorter side and keeps the middle, ``stretch`` keeps all.
        augmentation: What is done to training images where ``data.augment`` is true.
        classes: Names, in order; empty for those of ``train.classes``, if it has them.
        mean: Of the training images in [0, 1], one number per channel; None for ImageNet's of three channels, else
            that of up to 1,024 items.
        std: Likewise.
        memory_gb: Decode once and keep the images if all together need at most so many gigabytes (1e9 bytes).
        workers: Processes that decode batches ahead where they do not, >= 0.
        white: Level that is white in grey PIL images of more than eight bits; None for what they say.
        exif: Whether PIL images are turned as the camera noted.
        test_fraction: Share of each class in ``train`` that is held out where there is no ``test``, in (0, 1).
        notes: Lines for whoever checks or runs a study.
        place: Where the images come from, for people.
    """

    train: Any
    test: Any = None
    size: int | None = None
    fit: Fit = "crop"
    augmentation: Augmentation = Augmentation()  # noqa: RUF009 - it cannot be changed
    classes: Sequence[str] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    memory_gb: float = 2.0
    workers: int = 2
    white: int | None = None
    exif: bool = False
    test_fraction: float = 0.2
    notes: tuple[str, ...] = ()
    place: str | None = None


@contextmanager
def seeded_globals() -> Iterator[None]:
    """Make what a data set draws while it is made, such as ``random_split``, the same each time; then put it back."""
    states = torch.default_generator.get_state(), np.random.get_state(), random.getstate()
    seed = derive(0, "data set")
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def as_source(made: Any, plugin: str) -> Source:
    """Return what a data-set plug-in made as a source.

    Args:
        made: A `Source`, a `TrainTest`, or a pair of data sets.
        plugin: Its name.

    Raises:
        DataError: It is none of these, or its items are no images with labels.
    """
    if isinstance(made, Source):
        return made
    if isinstance(made, tuple | list) and len(made) == 2:
        made = TrainTest(*made)
    if not isinstance(made, TrainTest):
        raise DataError(
            f"data.name: '{plugin}' returned a value of type {type(made).__name__}; return the pair (train, test) of "
            "data sets, or a kdstudy.data.TrainTest of them"
        )
    return _source(made, plugin)


def _source(made: TrainTest, plugin: str) -> Source:
    given = {"training": made.train} | ({} if made.test is None else {"test": made.test})
    items = {part: _items(dataset, part, plugin, made) for part, dataset in given.items()}
    images = {part: _images(each, made) for part, each in items.items()}
    shape = images["training"].image_shape
    if images[[*images][-1]].image_shape != shape:
        raise DataError(
            f"data: training images have {shape} (channels, height, width), test images "
            f"{images['test'].image_shape}; make them alike, or return TrainTest(train, test, size=64), which scales"
        )
    keep = sum(each.nbytes for each in images.values()) <= min(made.memory_gb * GIGABYTE, FINGERPRINT_BYTES)
    read = {part: _labelled(each, keep=keep) for part, each in images.items()}
    classes = _classes(made)
    splits, num_classes = _splits({part: found[:2] for part, found in read.items()}, classes)
    notes = [*made.notes, *(found[2] for found in read.values() if found[2])]
    if len(splits) == 1:
        train, test, note = hold_out(splits[0], made.test_fraction, "there is no test data set", classes)
        splits, notes = [train, test], [*notes, note]
    mean, std = _statistics(made, images["training"])
    return Source(
        num_classes=num_classes,
        train=splits[0],
        test=splits[1],
        mean=mean,
        std=std,
        augmentation=made.augmentation,
        multilabel=splits[0].labels.ndim == 2,
        classes=classes,
        place=made.place,
        notes=(*notes, *_absent(splits[0].labels, num_classes, classes)),
    )


def _items(dataset: Any, part: str, plugin: str, made: TrainTest) -> Items:
    """Return a part's items, once it is sure that they can be looked at by their number."""
    kind = type(dataset).__name__
    if isinstance(dataset, IterableDataset) or (hasattr(dataset, "__iter__") and not hasattr(dataset, "__getitem__")):
        what = f"is a DataLoader ({kind}); return what it loads from" if isinstance(dataset, DataLoader) else None
        raise DataError(
            f"data: the {part} data set "
            + (what or f"can only be read in its own order ({kind}); return one with len() and [index]")
        )
    try:
        length = len(dataset)
        assert hasattr(dataset, "__getitem__")
    except Exception as error:
        raise DataError(
            f"data: the {part} data set is of type {kind}, which has no len() or no [index]; return a "
            "torch.utils.data.Dataset with both"
        ) from error
    if length == 0:
        raise DataError(f"data: the {part} data set is empty; give it items")
    return Items(dataset, part, plugin, white=made.white, exif=made.exif)


def _images(items: Items, made: TrainTest) -> ItemImages:
    """Return a part's images, their shape that of the first; some are read twice."""
    count = len(items.dataset)
    shape: torch.Size | None = None
    for index in torch.linspace(0, count - 1, min(count, PROBES), dtype=torch.float64).long().tolist():
        first, again = (items[index] for _ in range(2))
        pixels = [items.pixels(image, index, made.size, made.fit) for image, _ in (first, again)]
        shape = shape or pixels[0].shape
        same = pixels[0].shape == pixels[1].shape and torch.equal(*pixels)
        if not same or Label.of(first[1], items.where(index)) != Label.of(again[1], items.where(index)):
            raise DataError(
                f"data: {items.where(index)} is another one each time it is read, so no run could be repeated; leave "
                "random transforms out of the data set and list them under data.augment"
            )
    assert shape is not None
    image_shape = (shape[0], shape[1], shape[2])
    memory = made.memory_gb * GIGABYTE
    return ItemImages(items, torch.arange(count), image_shape, made.size, made.fit, memory, made.workers)


def _labelled(images: ItemImages, *, keep: bool) -> tuple[Tensor | ItemImages, Tensor, str | None]:
    """Return a part's images, its labels, and a line if items were read for them: then images are kept decoded."""
    items = images.items
    told = targets_of(items.dataset)
    probes = torch.linspace(0, len(images) - 1, min(len(images), PROBES), dtype=torch.float64).long().tolist()
    if told is not None and all(told[i] == Label.of(items[i][1], items.where(i)) for i in probes):
        return images, _tensor(told, items), None
    pixels = torch.empty(images.shape if keep else (0,), dtype=torch.uint8)
    labels = []
    for index in range(len(images)):
        image, label = items[index]
        labels.append(Label.of(label, items.where(index)))
        if keep:
            pixels[index] = images.checked(image, index)
    why = "has neither targets nor labels" if told is None else "has targets that differ from the labels of its items"
    note = f"the {items.part} data set {why}: all {len(images)} items were read for their labels"
    return pixels if keep else images, _tensor(labels, items), note


def targets_of(dataset: Any) -> list[Label] | None:
    """Return the labels that a data set tells without reading an image, as torchvision's do; None if it does not."""
    if isinstance(dataset, Subset):
        inner = targets_of(dataset.dataset)
        return None if inner is None else [inner[index] for index in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        parts = [targets_of(part) for part in dataset.datasets]
        return None if None in parts else [label for part in parts if part for label in part]
    for name in ("targets", "labels"):
        told = getattr(dataset, name, None)
        if isinstance(told, Tensor | np.ndarray):
            told = told.tolist()
        if isinstance(told, Sequence) and not isinstance(told, str) and len(told) == len(dataset):
            try:
                return [Label.of(label, "") for label in told]
            except DataError:
                continue
    return None


def _tensor(labels: list[Label], items: Items) -> Tensor:
    """Return (N,) int64, or (N, K) float32 of labels that are alike."""
    lengths = [len(label.value) if isinstance(label.value, tuple) else None for label in labels]
    for index, length in enumerate(lengths):
        if length != lengths[0]:
            raise DataError(
                f"data: {items.where(index)} has the label {labels[index].value}, item 0 {labels[0].value}; give all "
                "an int, or all equally many numbers 0 or 1"
            )
    values = torch.tensor([label.value for label in labels])
    return values if lengths[0] is None else values.float()


def _classes(made: TrainTest) -> tuple[str, ...]:
    if made.classes:
        return tuple(made.classes)
    names = [each for each in map(_names, (made.train, made.test)) if each]
    if len({*names}) > 1:
        raise DataError("data: the training and the test data set have different classes; give both the same")
    return names[0] if names else ()


def _names(dataset: Any) -> tuple[str, ...]:
    while isinstance(dataset, Subset | ConcatDataset):
        dataset = dataset.dataset if isinstance(dataset, Subset) else dataset.datasets[0]
    names = getattr(dataset, "classes", None)
    usable = isinstance(names, Sequence) and not isinstance(names, str) and all(isinstance(name, str) for name in names)
    return tuple(names) if usable and names else ()


def _splits(read: dict[str, tuple[Tensor | ItemImages, Tensor]], classes: tuple[str, ...]) -> tuple[list[Split], int]:
    """Return the splits, and K: of the classes' names, else what the training labels show."""
    labels = {part: found[1] for part, found in read.items()}
    train = labels["training"]
    multilabel = train.ndim == 2
    count = len(classes) or (train.shape[1] if multilabel else int(train.max()) + 1)
    if count < 2:
        raise DataError("data: the training data set has one class, 0; give it at least two")
    for part, found in labels.items():
        kinds = found.ndim != train.ndim or (multilabel and found.shape[1] != count)
        if kinds or (not multilabel and int(found.max()) >= count):
            worst = "labels of another kind" if kinds else f"the label {int(found.max())} (item {int(found.argmax())})"
            known = f"names {count} classes" if classes else f"has {count} classes"
            raise DataError(
                f"data: the {part} data set has {worst}, but the training data set {known}; labels are 0 to {count - 1}"
            )
    return [Split(images, found) for images, found in read.values()], count


def _absent(labels: Tensor, num_classes: int, classes: tuple[str, ...]) -> Iterator[str]:
    if labels.ndim == 1 and (missing := sorted({*range(num_classes)} - {*labels.tolist()})):
        named = [classes[label] if classes else str(label) for label in missing[:5]]
        yield f"no training item has class {', '.join(named)}{', ...' * (len(missing) > 5)} (labels count from 0)"


def _statistics(made: TrainTest, images: ItemImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    channels, count = images.image_shape[0], len(images)
    mean, std = made.mean, made.std
    if mean is None or std is None:
        found: tuple[tuple[float, ...], tuple[float, ...]] = (IMAGENET_MEAN, IMAGENET_STD)
        if channels != len(IMAGENET_MEAN):
            some = torch.linspace(0, count - 1, min(count, SAMPLE), dtype=torch.float64).long()
            found = channel_statistics(images[some])
        mean, std = mean or found[0], std or found[1]
    if len(mean) != channels or len(std) != channels:
        raise DataError(f"data: TrainTest has mean {mean} and std {std}, but images have {channels} channel(s)")
    return mean, std
