"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test images of 32 x 32 pixels.

Source: A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009; files, layout and MD5
sums as torchvision has them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le

from kdstudy.data.dataset import Augmentation, Source, Split
from kdstudy.data.torchvision_import import import_torchvision
from kdstudy.errors import DataError

PAD = 4
# Mean and standard deviation of the channels, as they are customary.
_STATISTICS = {
    "CIFAR10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "CIFAR100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
Cutout = Annotated[int, Ge(0), Le(32)]


def load_cifar10(root: Path, download: bool, *, cutout: Cutout = 0) -> Source:
    """Load CIFAR-10: 10 classes, 5,000 training and 1,000 test images each.

    Training images are shifted by up to four pixels and mirrored, as He et al. (2016, arXiv 1512.03385) do.

    Args:
        root: Holds ``cifar-10-batches-py``.
        download: Fetch the files if they are missing.
        cutout: Side of a black square put at a random place of each training image, in pixels, 0 (none) to
            32. DeVries & Taylor (2017, arXiv 1708.04552) take 16 for CIFAR-10; theirs is of the mean colour.
    """
    return _load("CIFAR10", root, download, cutout)


def load_cifar100(root: Path, download: bool, *, cutout: Cutout = 0) -> Source:
    """Load CIFAR-100 with its 100 fine classes, 500 training and 100 test images each.

    Training images are shifted by up to four pixels and mirrored, as He et al. (2016, arXiv 1512.03385) do.

    Args:
        root: Holds ``cifar-100-python``.
        download: Fetch the files if they are missing.
        cutout: Side of a black square put at a random place of each training image, in pixels, 0 (none) to
            32. DeVries & Taylor (2017, arXiv 1708.04552) take 8 for CIFAR-100; theirs is of the mean colour.
    """
    return _load("CIFAR100", root, download, cutout)


def _load(name: str, root: Path, download: bool, cutout: int) -> Source:
    import_torchvision()
    from torchvision import datasets

    kind = getattr(datasets, name)
    folder = root / kind.base_folder
    if not folder.is_dir() and not download:
        raise DataError(f"data.root: no {name} at {folder}; set data.download: true, or unpack {kind.url} in {root}")
    try:
        train, test = (kind(str(root), train=part, download=download) for part in (True, False))
    except (RuntimeError, OSError) as error:
        reason = "could not be downloaded" if download else "is incomplete or damaged (an MD5 sum differs)"
        raise DataError(f"data.root: {name} at {folder} {reason}; unpack {kind.url} in {root}") from error
    mean, std = _STATISTICS[name]
    augmentation = Augmentation(pad=PAD, flip=True, cutout=cutout)
    return Source(
        num_classes=len(train.classes),
        train=_split(train),
        test=_split(test),
        mean=mean,
        std=std,
        augmentation=augmentation,
        classes=tuple(train.classes),
        place=str(folder),
    )


def _split(part: Any) -> Split:
    """Return the (N, H, W, C) array and the list of classes as tensors."""
    return Split(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
