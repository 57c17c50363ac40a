"""A folder of the user's own images: one sub-folder per class, in the layout of torchvision's ``ImageFolder``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Le, Lt

from kdstudy.data.class_folders import EMPTY, UNREADABLE, ClassFolders, left_out_notes, read_class_folders
from kdstudy.data.dataset import IMAGENET_MEAN, IMAGENET_STD, Augmentation, Source, Split
from kdstudy.data.decode import is_empty, is_turned
from kdstudy.data.files import ImageFiles, White
from kdstudy.data.split import hold_out
from kdstudy.data.stored import GIGABYTE, Gigabytes, Side, Workers
from kdstudy.errors import DataError

LOOKED_AT = 256
"""So many training images, spread evenly, are asked whether the camera was turned."""


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
    exif: Literal["ignore", "apply"] = "ignore",
    unreadable: Literal["refuse", "leave_out"] = "refuse",
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
) -> Source:
    """Load ``train/CLASS/*`` and ``test/CLASS/*`` (``val/`` where there is no ``test/``; else a part of ``train/``).

    Every file counts whose name ends as one that Pillow reads, whichever of these formats it has; hidden files and
    folders do not, and what a link leads to counts once. What is left out is told with its reason.
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
        exif: Whether images are turned upright as the camera noted (``apply``, as phones show them) or taken as they
            lie in their files (``ignore``, as torchvision does). TIFF is turned either way, by Pillow.
        unreadable: Whether a file that is empty, damaged or too large ends the study before it begins (``refuse``), or
            is left out and told (``leave_out``): then every process that loads the data decodes all files for it.
        test_fraction: Share of each class in ``train/`` held out as the test split where there is neither ``test/`` nor
            ``val/``, in (0, 1): the same images for every seed.
    """
    if resize is not None and resize < size:
        raise DataError(f"data.options.resize: must be at least size, got {resize} and {size}; write {size} or more")
    memory, turn = memory_gb * GIGABYTE, exif == "apply"
    files = partial(ImageFiles, size=resize or size, fit="crop", memory=memory, workers=workers, white=white, exif=turn)
    parts = _parts(root)
    if unreadable == "leave_out":
        parts = [_readable(part, files(part.paths)) for part in parts]
    left_out, classes = tuple(each for part in parts for each in part.left_out), parts[0].classes
    notes = [*left_out_notes(left_out), *filter(None, [None if turn else _turned(parts[0].paths)])]
    if parts[-1].folder.name == "val":
        notes.append(f"no test/ in {root}: the images in val/ are the test split")
    side = None if resize is None else size
    splits = [Split(files(part.paths), torch.tensor(part.labels), side=side) for part in parts]
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
        left_out=left_out,
    )


def _parts(root: Path) -> list[ClassFolders]:
    """Return what ``train`` holds, and ``test`` or ``val`` if there is one: at least two classes, the same in both."""
    held_out = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if not (root / "train").is_dir():
        raise DataError(
            f"data.root: no image folder at {root} (train/ is not there); name the folder that "
            "holds train/ and test/, with one sub-folder per class in each"
        )
    parts = read_class_folders([folder for folder in (root / "train", held_out) if folder is not None])
    if len(parts[0].classes) < 2:
        raise DataError(f"data.root: {root / 'train'} has one class, '{parts[0].classes[0]}'; give it at least two")
    return parts


def _readable(part: ClassFolders, images: ImageFiles) -> ClassFolders:
    """Return a part without the files that cannot be read."""
    reasons = {path: EMPTY if is_empty(path) else UNREADABLE for path in images.unreadable()}
    return part.without(reasons) if reasons else part


def _turned(paths: Sequence[str]) -> str | None:
    """Return a line if some images say that they were taken with the camera turned; up to `LOOKED_AT` are asked."""
    places = torch.linspace(0, len(paths) - 1, min(len(paths), LOOKED_AT), dtype=torch.float64).long().tolist()
    turned = [paths[place] for place in places if is_turned(paths[place])]
    if not turned:
        return None
    return (
        f"{len(turned)} of {len(places)} training images looked at lie on their side or mirrored in their files, such "
        f"as {turned[0]}; data.options.exif: apply turns them as the camera noted"
    )
