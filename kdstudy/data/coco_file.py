"""A file of COCO's instances, and where it lies.

Source: Lin et al. 2014, arXiv 1405.0312.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kdstudy.errors import DataError

LAYOUTS = (
    ("instances_{part}.json", "images"),
    ("instances_{part}2017.json", "{part}2017"),
    ("instances_{part}2017.json", "images/{part}2017"),
)
"""Annotations file in ``annotations/`` and folder of images, as kept by users and as distributed."""


class Part(NamedTuple):
    """What an annotations file says: categories by ascending id, images by ascending id.

    Attributes:
        file: Of the annotations.
        categories: Id and name of each, K.
        paths: File of each image, N.
        labels: (N, K) float32 in {0, 1}: whether an image has a category.
        content: The file as it stands.
    """

    file: Path
    categories: tuple[tuple[int, str], ...]
    paths: tuple[str, ...]
    labels: torch.Tensor
    content: dict[str, Any]


class Box(NamedTuple):
    """An annotated object.

    Attributes:
        image: Place of its image in `Part.paths`.
        category: Place of its category in `Part.categories`.
        corner: Left and top, in pixels; may lie outside the image.
        sides: Width and height, in pixels; may be anything.
        size: Width and height of the image, in pixels, >= 1.
        crowd: Whether it is many objects in one.
    """

    image: int
    category: int
    corner: tuple[float, float]
    sides: tuple[float, float]
    size: tuple[int, int]
    crowd: bool


def read(file: Path, images: Path) -> Part:
    """Read an annotations file.

    Raises:
        DataError: It is none, contradicts itself, says nothing, or images are missing in the folder ``images``.
    """
    with _meant_as_instances(file):
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
    return Part(file, categories, tuple(str(images / name) for _, name in listed), labels, content)


def read_boxes(part: Part) -> list[Box]:
    """Return all boxes of an annotations file, in its order.

    Raises:
        DataError: One is not four numbers, or the size of an image is not given.
    """
    with _meant_as_instances(part.file):
        sizes = sorted((_id(entry["id"]), _sides(entry)) for entry in part.content["images"])
        row = {image: place for place, (image, _) in enumerate(sizes)}
        column = {category: place for place, (category, _) in enumerate(part.categories)}
        return [
            _box(entry, row[_id(entry["image_id"])], column[_id(entry["category_id"])], sizes)
            for entry in part.content["annotations"]
        ]


def _sides(image: dict[str, Any]) -> tuple[int, int]:
    sides = image["width"], image["height"]
    if not all(isinstance(side, int | float) and not isinstance(side, bool) and side >= 1 for side in sides):
        raise ValueError(f"an image is a pixel wide and high or more, got {json.dumps(sides)}")
    return _id(sides[0]), _id(sides[1])


def _box(entry: dict[str, Any], row: int, column: int, sizes: list[tuple[int, tuple[int, int]]]) -> Box:
    crowd, numbers = entry.get("iscrowd", 0), entry["bbox"]
    if crowd not in (0, 1):
        raise ValueError(f"iscrowd is 0 or 1, got {json.dumps(crowd)}")
    real = isinstance(numbers, list) and [
        float(number) for number in numbers if isinstance(number, int | float) and not isinstance(number, bool)
    ]
    if not real or len(real) != 4 or len(numbers) != 4 or not all(map(math.isfinite, real)):
        raise ValueError(f"a bbox is [left, top, width, height] in pixels, got {json.dumps(numbers)}")
    left, top, width, height = real
    return Box(row, column, (left, top), (width, height), sizes[row][1], bool(crowd))


@contextmanager
def _meant_as_instances(file: Path) -> Iterator[None]:
    """Say of what does not fit that the file is not one of COCO's instances."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DataError(
            f"data.root: {file} is not a file of COCO's instances ({type(error).__name__}: {error}); it "
            "needs images, annotations and categories that refer to each other"
        ) from error


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


def annotated(root: Path, part: str) -> bool:
    """Return whether there is an annotations file of a part, ``train`` or ``val``."""
    names = {name.format(part=part) for name, _ in LAYOUTS}
    return any((folder / "annotations" / name).is_file() for folder in (root, root / "coco") for name in names)


def find(root: Path, part: str) -> tuple[Path, Path]:
    """Return the annotations file of a part, ``train`` or ``val``, and the folder of its images.

    Raises:
        DataError: There is none.
    """
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
