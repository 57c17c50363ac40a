"""COCO as multi-label classification: which of its categories are in an image.

Source: Lin et al. 2014, arXiv 1405.0312. Reading it as multi-label classification is common (e.g. Ridnik et
al. 2021, arXiv 2009.14119, who also stretch images to a square).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from annotated_types import Gt, Le, Lt

from kdstudy.data.dataset import IMAGENET_MEAN, IMAGENET_STD, Augmentation, Source, Split
from kdstudy.data.files import GIGABYTE, Gigabytes, ImageFiles, Side, White, Workers
from kdstudy.data.split import hold_out
from kdstudy.errors import DataError

LAYOUTS = (
    ("instances_{part}.json", "images"),
    ("instances_{part}2017.json", "{part}2017"),
    ("instances_{part}2017.json", "images/{part}2017"),
)
"""Annotations file in ``annotations/`` and folder of images, as kept by users and as distributed."""


def load(  # noqa: PLR0913 - each keyword is a key of the study file
    root: Path,
    download: bool,
    *,
    size: Side = 64,
    crop: Annotated[float, Gt(0), Le(1)] = 0.5,
    memory_gb: Gigabytes = 2.0,
    workers: Workers = 2,
    white: White = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
) -> Source:
    """Load COCO's object categories as labels, any number an image; its val file is the test split.

    An image has a category if it has an annotation of it, crowds included; images without any are kept.
    Images are stretched to squares. In training, a random window (at least ``crop`` of the area, up to 4:3 or
    3:4) is scaled to the full size, and half of the images are mirrored.

    Args:
        root: Holds ``images/`` and ``annotations/instances_train.json`` and ``instances_val.json``, or has a
            folder ``coco`` that does. COCO 2017 as distributed (``train2017/``, ``instances_train2017.json``)
            is found as well.
        download: COCO cannot be fetched from here.
        size: Height and width in pixels, >= 8.
        crop: Smallest share of an image's area that a training window keeps, in (0, 1]; 1 keeps all.
        memory_gb: Decode once and keep the images if all splits together need at most so many gigabytes
            (1e9 bytes); else decode each batch anew. The numbers are the same.
        workers: Processes that decode batches ahead in that case, >= 0.
        white: Level that is white in grey images of more than eight bits, such as 4095 for twelve; null for what the
            files say, which is 65535 in most.
        test_fraction: Share of the images of the train file held out as the test split where there is no val file, in
            (0, 1): the same images for every seed.
    """

    def split_of(part: _Part) -> Split:
        return Split(ImageFiles(part.paths, size, "stretch", memory_gb * GIGABYTE, workers, white), part.labels)

    part = _read(*_find(root, "train"))
    classes = tuple(name for _, name in part.categories)
    notes: tuple[str, ...] = ()
    if _annotated(root, "val"):
        other = _read(*_find(root, "val"))
        if part.categories != other.categories:
            raise DataError(
                f"data.root: the annotations in {part.file.parent} list different categories for train and val; "
                "take both files from one data set"
            )
        train, test = split_of(part), split_of(other)
    else:
        why = f"no annotations of val in {part.file.parent}"
        train, test, note = hold_out(split_of(part), test_fraction, why, classes)
        notes = (note,)
    return Source(
        num_classes=len(classes),
        train=train,
        test=test,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        augmentation=Augmentation(flip=True, crop=crop),
        multilabel=True,
        classes=classes,
        place=str(part.file.parents[1]),
        notes=notes,
    )


class _Part(NamedTuple):
    """What an annotations file says: categories by ascending id, images by ascending id."""

    file: Path
    categories: tuple[tuple[int, str], ...]
    paths: tuple[str, ...]
    labels: torch.Tensor


def _read(file: Path, images: Path) -> _Part:
    try:
        content: dict[str, Any] = json.loads(file.read_bytes())
        categories = tuple(sorted((_id(entry["id"]), str(entry["name"])) for entry in content["categories"]))
        listed = sorted((_id(entry["id"]), str(entry["file_name"])) for entry in content["images"])
        pairs = [(_id(entry["image_id"]), _id(entry["category_id"])) for entry in content["annotations"]]
        _refuse_twice(file, "category", (category for category, _ in categories))
        _refuse_twice(file, "image", (image for image, _ in listed))
        row = {image: place for place, (image, _) in enumerate(listed)}
        column = {category: place for place, (category, _) in enumerate(categories)}
        labels = torch.zeros(len(row), len(column))
        if pairs:
            rows, columns = zip(*((row[image], column[category]) for image, category in pairs), strict=True)
            labels[list(rows), list(columns)] = 1
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"data.root: {file} is not a file of COCO's instances ({type(error).__name__}: {error}); it "
            "needs images, annotations and categories that refer to each other"
        ) from error
    if len(categories) < 2 or not listed:
        raise DataError(
            f"data.root: {file} has {len(listed)} images and {len(categories)} categories; "
            "take a file with images and at least two categories"
        )
    _refuse_missing(file, images, [name for _, name in listed])
    if not pairs:
        raise DataError(
            f"data.root: {file} has no annotation, so that nothing could be scored on its images; take a file with "
            "annotations (those of COCO's own test images are secret)"
        )
    return _Part(file, categories, tuple(str(images / name) for _, name in listed), labels)


def _id(written: object) -> int:
    """Return an identifier: a whole number (tables write 7.0), or the digits of one."""
    whole = isinstance(written, int | str) or (isinstance(written, float) and written.is_integer())
    if isinstance(written, bool) or not whole:
        raise TypeError(f"an id is a whole number, got {json.dumps(written)}")
    return int(written)  # type: ignore[call-overload, no-any-return]


def _refuse_twice(file: Path, what: str, found: Iterable[int]) -> None:
    """Refuse identifiers that name two things: what refers to them could mean either."""
    twice = [identifier for identifier, count in Counter(found).items() if count > 1]
    if twice:
        raise DataError(
            f"data.root: {file} lists {what} {twice[0]} more than once ({len(twice)} such); keep one entry of each, as "
            "merged files often have two"
        )


def _annotated(root: Path, part: str) -> bool:
    names = {name.format(part=part) for name, _ in LAYOUTS}
    return any((folder / "annotations" / name).is_file() for folder in (root, root / "coco") for name in names)


def _find(root: Path, part: str) -> tuple[Path, Path]:
    for folder in (root, root / "coco"):
        for name, images in LAYOUTS:
            file = folder / "annotations" / name.format(part=part)
            if file.is_file() and (folder / images.format(part=part)).is_dir():
                return file, folder / images.format(part=part)
    raise DataError(
        f"data.root: no COCO at {root} or {root / 'coco'} (annotations/instances_{part}.json "
        "and images/); get it from https://cocodataset.org, or name the folder that holds images/ and "
        "annotations/"
    )


def _refuse_missing(file: Path, images: Path, names: list[str]) -> None:
    there = {entry.name for entry in images.iterdir()}
    # A name that leads out of the folder counts as missing: the annotations may be a stranger's.
    missing = [
        name
        for name in names
        if name not in there and (Path(name).is_absolute() or ".." in Path(name).parts or not (images / name).is_file())
    ]
    if missing:
        raise DataError(
            f"data.root: {len(missing)} of {len(names)} images of {file} are not in {images}, "
            f"such as {missing[0]}; put them there"
        )
