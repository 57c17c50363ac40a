"""A folder of the user's own images: one sub-folder per class, in the layout of torchvision's ``ImageFolder``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from annotated_types import Gt, Le, Lt

from kdstudy.data.dataset import IMAGENET_MEAN, IMAGENET_STD, Augmentation, Source, Split
from kdstudy.data.decode import image_suffixes
from kdstudy.data.files import ImageFiles, White
from kdstudy.data.split import hold_out
from kdstudy.data.stored import GIGABYTE, Gigabytes, Side, Workers
from kdstudy.errors import DataError


def load(  # noqa: PLR0913 - each keyword is a key of the study file
    root: Path,
    download: bool,
    *,
    size: Side = 64,
    resize: Side | None = None,
    crop: Annotated[float, Gt(0), Le(1)] = 0.5,
    flip: bool = True,
    memory_gb: Gigabytes = 2.0,
    workers: Workers = 2,
    white: White = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
) -> Source:
    """Load ``train/CLASS/*`` and ``test/CLASS/*`` (``val/`` where there is no ``test/``; else a part of ``train/``).

    Every file counts whose name ends as one that Pillow reads; hidden files and folders do not.
    Images are scaled so that the shorter side fits, and their middle is kept. In training, a random window
    (at least ``crop`` of the area, up to 4:3 or 3:4) is scaled to the full size, and half of the images are
    mirrored.

    Args:
        root: Holds ``train`` and mostly ``test``, with one folder per class, the same ones in both.
        download: There is nothing to fetch.
        size: Height and width in pixels, >= 8.
        resize: Side of the middle square that images are decoded and kept at, >= ``size``, from which training windows
            are cut, and of which evaluation looks at the middle ``size`` x ``size``: 256 for 224 is the usual
            evaluation. null for ``size``.
        crop: Smallest share of an image's area that a training window keeps, in (0, 1]; 1 keeps all.
        flip: Whether images may be mirrored left to right; not for writing, say.
        memory_gb: Decode once and keep the images if all splits together need at most so many gigabytes
            (1e9 bytes); else decode each batch anew. The numbers are the same.
        workers: Processes that decode batches ahead in that case, >= 0.
        white: Level that is white in grey images of more than eight bits, such as 4095 for twelve; null for what the
            files say, which is 65535 in most.
        test_fraction: Share of each class in ``train/`` held out as the test split where there is neither ``test/`` nor
            ``val/``, in (0, 1): the same images for every seed.
    """
    parts = _parts(root)
    classes, notes = parts[0].classes, [note for part in parts if (note := part.note)]
    if parts[-1].folder.name == "val":
        notes.append(f"no test/ in {root}: the images in val/ are the test split")
    if resize is not None and resize < size:
        raise DataError(f"data.options.resize: must be at least size, got {resize} and {size}; write {size} or more")
    files = partial(ImageFiles, size=resize or size, fit="crop", memory=memory_gb * GIGABYTE, workers=workers)
    side = None if resize is None else size
    splits = [Split(files(part.paths, white=white), torch.tensor(part.labels), side=side) for part in parts]
    if len(splits) == 1:
        train, test, note = hold_out(splits[0], test_fraction, f"neither test/ nor val/ in {root}", classes)
        splits, notes = [train, test], [*notes, note]
    return Source(
        num_classes=len(classes),
        train=splits[0],
        test=splits[1],
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        augmentation=Augmentation(flip=flip, crop=crop),
        classes=classes,
        place=str(root),
        notes=tuple(notes),
    )


class _Part(NamedTuple):
    """What one of the folders holds: images by class, in the order of ``ImageFolder``."""

    folder: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    others: tuple[str, ...]

    @property
    def note(self) -> str | None:
        """A line about the files that were left out, if there are any."""
        if not self.others:
            return None
        count = len(self.others)
        return f"{count} file{'s' * (count > 1)} in {self.folder} left out: no image by name, such as {self.others[0]}"


def _parts(root: Path) -> list[_Part]:
    """Return what ``train`` holds, and ``test`` or ``val`` if there is one: at least two classes, the same in both."""
    held_out = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if not (root / "train").is_dir():
        raise DataError(
            f"data.root: no image folder at {root} (train/ is not there); name the folder that "
            "holds train/ and test/, with one sub-folder per class in each"
        )
    try:
        parts = [_read(folder) for folder in (root / "train", held_out) if folder is not None]
    except OSError as error:
        raise DataError(
            f"data.root: {error.filename} cannot be looked into ({error.strerror}); correct it, or take it away"
        ) from error
    if len(parts[0].classes) < 2:
        raise DataError(f"data.root: {root / 'train'} has one class, '{parts[0].classes[0]}'; give it at least two")
    for other in parts[1:]:
        if differing := sorted({*parts[0].classes} ^ {*other.classes}):
            raise DataError(
                f"data.root: {parts[0].folder} and {other.folder} have different classes, such as '{differing[0]}'; "
                "give both the same sub-folders"
            )
    return parts


def _read(folder: Path) -> _Part:
    classes = tuple(sorted(entry.name for entry in os.scandir(folder) if _shown(entry) and entry.is_dir()))
    if not classes:
        raise DataError(f"data.root: {folder} has no sub-folder; put images in one sub-folder per class")
    seen = {os.path.realpath(folder): str(folder)}
    paths: list[str] = []
    labels: list[int] = []
    others: list[str] = []
    # All classes first: a link from one into another would give its images two labels.
    for name in classes:
        _visit(folder / name, seen)
    for label, name in enumerate(classes):
        files = [file for _, found in sorted(_walk(str(folder / name), seen)) for file in found]
        images = [file for file in files if Path(file).suffix.lower() in image_suffixes()]
        if not images:
            raise DataError(
                f"data.root: {folder / name} holds no image ({len(files)} files); put images in it, or take it away"
            )
        paths += images
        labels += [label] * len(images)
        others += sorted({*files} - {*images})
    return _Part(folder, classes, tuple(paths), tuple(labels), tuple(others))


def _walk(folder: str, seen: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder from here down with its files in order; what a link leads to counts, but once."""
    entries = sorted((entry for entry in os.scandir(folder) if _shown(entry)), key=lambda entry: entry.name)
    yield folder, [entry.path for entry in entries if not entry.is_dir()]
    for entry in entries:
        if entry.is_dir():
            _visit(Path(entry.path), seen)
            yield from _walk(entry.path, seen)


def _shown(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".")


def _visit(folder: Path, seen: dict[str, str]) -> None:
    """Refuse a folder whose images would count twice: a link leads into what is read anyway."""
    place = os.path.realpath(folder)
    if place in seen:
        raise DataError(
            f"data.root: {folder} and {seen[place]} are one folder, whose images would count twice; remove the link"
        )
    seen[place] = str(folder)
