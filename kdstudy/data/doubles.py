"""Images that are in more than one split, byte for byte: a score on them is not of what is new."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from kdstudy.data.dataset import Dataset, Split
from kdstudy.data.decode import unreadable
from kdstudy.data.files import BEGINNING, ImageFiles
from kdstudy.data.stored import FINGERPRINT_BYTES, StoredImages
from kdstudy.errors import DataError

LEARNT = ("training", "validation")


class _Image(NamedTuple):
    """One image of a split, by its place in it."""

    part: str
    place: int


def doubles(data: Dataset) -> Iterator[str]:
    """Yield a line about test images that are also training or validation images, and validation images in training.

    Looked at are whole images in files (of those with the same length the beginning, of those with the same beginning
    all of it) and images in memory (their pixels), of up to `FINGERPRINT_BYTES`; others are not.

    Args:
        data: With its test split.

    Raises:
        DataError: A file cannot be read.
    """
    splits = {"training": data.train, "validation": data.val}
    if data.test is not None:
        splits["test"] = data.test
    found = _equal(splits)
    for part, others in (("test", LEARNT), ("validation", LEARNT[:1])):
        shared = [
            (image, partner)
            for group in found
            if (partner := next((each for each in group if each.part in others), None)) is not None
            for image in group
            if image.part == part
        ]
        if shared:
            yield _line(part, others, shared, splits)


def _line(part: str, others: Sequence[str], shared: Sequence[tuple[_Image, _Image]], splits: dict[str, Split]) -> str:
    image, partner = shared[0]
    differing = sum(
        not torch.equal(splits[one.part].labels[one.place], splits[other.part].labels[other.place])
        for one, other in shared
    )
    why = "they score what was learnt by heart" if part == "test" else "they guide the search by what is learnt"
    under = f", {differing} of them with another label" if differing else ""
    return (
        f"{len(shared)} of {len(splits[part])} {part} images are {' or '.join(others)} images as well, byte for byte"
        f"{under}, such as {_called(image, splits)} and {_called(partner, splits)}: {why}; take them out of one side"
    )


def _called(image: _Image, splits: dict[str, Split]) -> str:
    images = splits[image.part].images
    return images.paths[image.place] if isinstance(images, ImageFiles) else f"{image.part} image {image.place}"


def _equal(splits: dict[str, Split]) -> list[list[_Image]]:
    """Return groups of equal images of more than one split, those of a group in the splits' order."""
    keys = _keys(splits)
    groups = [[_Image(part, place) for part, split in splits.items() for place in range(len(split))]] if keys else []
    for key in keys:
        groups = [finer for group in groups for finer in _divided(group, key) if len({each.part for each in finer}) > 1]
    return groups


def _divided(group: Sequence[_Image], key: Callable[[_Image], Hashable]) -> list[list[_Image]]:
    found: dict[Hashable, list[_Image]] = {}
    for image in group:
        found.setdefault(key(image), []).append(image)
    return [*found.values()]


def _keys(splits: dict[str, Split]) -> list[Callable[[_Image], Hashable]]:
    """Return what equal images have in common, the cheapest first; nothing where it is not known."""
    images = {part: split.images for part, split in splits.items()}
    if all(isinstance(each, ImageFiles) and not each.windows for each in images.values()):
        return [lambda image, look=look: look(images[image.part].paths[image.place]) for look in _LOOKS]  # type: ignore[union-attr,misc]
    if any(isinstance(each, StoredImages) for each in images.values()):
        return []
    if sum(each.nbytes for each in images.values()) > FINGERPRINT_BYTES:
        return []
    rows = {part: each.cpu().contiguous().numpy() for part, each in images.items() if isinstance(each, Tensor)}
    return [lambda image: hashlib.sha256(rows[image.part][image.place]).digest()]


def _length(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError as error:
        raise DataError(unreadable(path, error)) from error


def _beginning(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return hashlib.sha256(file.read(BEGINNING)).digest()
    except OSError as error:
        raise DataError(unreadable(path, error)) from error


def _content(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(unreadable(path, error)) from error


_LOOKS: tuple[Callable[[str], Hashable], ...] = (_length, _beginning, _content)
