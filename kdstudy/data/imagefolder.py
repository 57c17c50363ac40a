"""A folder of the user's own images: one sub-folder per class, as torchvision's ``ImageFolder`` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Gt, Le

from kdstudy.data.dataset import IMAGENET_MEAN, IMAGENET_STD, Augmentation, Source, Split
from kdstudy.data.files import GIGABYTE, Gigabytes, ImageFiles, Side, Workers
from kdstudy.data.torchvision_import import import_torchvision
from kdstudy.errors import DataError


def load(  # noqa: PLR0913 - each keyword is a key of the study file
    root: Path,
    download: bool,
    *,
    size: Side = 64,
    crop: Annotated[float, Gt(0), Le(1)] = 0.5,
    flip: bool = True,
    memory_gb: Gigabytes = 2.0,
    workers: Workers = 2,
) -> Source:
    """Load ``train/CLASS/*`` and ``test/CLASS/*`` (``val/`` where there is no ``test/``).

    Images are scaled so that the shorter side fits, and their middle is kept. In training, a random window
    (at least ``crop`` of the area, up to 4:3 or 3:4) is scaled to the full size, and half of the images are
    mirrored.

    Args:
        root: Holds ``train`` and ``test``, with one folder per class, the same ones in both.
        download: There is nothing to fetch.
        size: Height and width in pixels, >= 8.
        crop: Smallest share of an image's area that a training window keeps, in (0, 1]; 1 keeps all.
        flip: Whether images may be mirrored left to right; not for writing, say.
        memory_gb: Decode once and keep the images if all splits together need at most so many gigabytes
            (1e9 bytes); else decode each batch anew. The numbers are the same.
        workers: Processes that decode batches ahead in that case, >= 0.
    """
    folders = root / "train", root / "test" if (root / "test").is_dir() else root / "val"
    for folder in folders:
        if not folder.is_dir():
            raise DataError(
                f"data.root: no image folder at {root} ({folder.name}/ is not there); name the folder that "
                "holds train/ and test/, with one sub-folder per class in each"
            )
    train, test = map(_read, folders)
    if train.classes != test.classes:
        differing = sorted(set(train.classes) ^ set(test.classes))
        raise DataError(
            f"data.root: {folders[0]} and {folders[1]} have different classes, such as '{differing[0]}'; "
            "give both the same sub-folders"
        )
    if len(train.classes) < 2:
        raise DataError(f"data.root: {folders[0]} has one class, '{train.classes[0]}'; give it at least two")
    memory = memory_gb * GIGABYTE
    splits = [
        Split(
            ImageFiles(tuple(path for path, _ in part.samples), size, "crop", memory, workers),
            torch.tensor(part.targets),
        )
        for part in (train, test)
    ]
    return Source(
        num_classes=len(train.classes),
        train=splits[0],
        test=splits[1],
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        augmentation=Augmentation(flip=flip, crop=crop),
    )


def _read(folder: Path) -> Any:
    import_torchvision()
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(str(folder))
    except FileNotFoundError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"data.root: {reason}; put images in one sub-folder per class") from error
