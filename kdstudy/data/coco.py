"""COCO as multi-label classification: which of its categories are in an image.

Source: Lin et al. 2014, arXiv 1405.0312. Reading it as multi-label classification is common (e.g. Ridnik et
al. 2021, arXiv 2009.14119, who also stretch images to a square).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from annotated_types import Gt, Le

from kdstudy.data.dataset import IMAGENET_MEAN, IMAGENET_STD, Augmentation, Source, Split
from kdstudy.data.files import GIGABYTE, Gigabytes, ImageFiles, Side, Workers
from kdstudy.errors import DataError

LAYOUTS = (
    ("instances_{part}.json", "images"),
    ("instances_{part}2017.json", "{part}2017"),
    ("instances_{part}2017.json", "images/{part}2017"),
)
"""Annotations file in ``annotations/`` and folder of images, as kept by users and as distributed."""


def load(
    root: Path,
    download: bool,
    *,
    size: Side = 64,
    crop: Annotated[float, Gt(0), Le(1)] = 0.5,
    memory_gb: Gigabytes = 2.0,
    workers: Workers = 2,
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
    """
    train, test = (_read(root, part) for part in ("train", "val"))
    if train.categories != test.categories:
        raise DataError(
            f"data.root: the annotations in {train.file.parent} list different categories for train and val; "
            "take both files from one data set"
        )
    splits = [
        Split(ImageFiles(part.paths, size, "stretch", memory_gb * GIGABYTE, workers), part.labels)
        for part in (train, test)
    ]
    return Source(
        num_classes=len(train.categories),
        train=splits[0],
        test=splits[1],
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        augmentation=Augmentation(flip=True, crop=crop),
        multilabel=True,
    )


class _Part(NamedTuple):
    """What an annotations file says: categories by ascending id, images by ascending id."""

    file: Path
    categories: tuple[tuple[int, str], ...]
    paths: tuple[str, ...]
    labels: torch.Tensor


def _read(root: Path, part: str) -> _Part:
    file, images = _find(root, part)
    try:
        content: dict[str, Any] = json.loads(file.read_bytes())
        categories = tuple(sorted((int(entry["id"]), str(entry["name"])) for entry in content["categories"]))
        listed = sorted((int(entry["id"]), str(entry["file_name"])) for entry in content["images"])
        pairs = [(int(entry["image_id"]), int(entry["category_id"])) for entry in content["annotations"]]
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
    return _Part(file, categories, tuple(str(images / name) for _, name in listed), labels)


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
