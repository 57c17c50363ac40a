"""What a data set is: images as one uint8 tensor per split, labels, and how they may be augmented.

Shapes: N images, C channels, H and W positions, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kdstudy.data.class_folders import LeftOut
from kdstudy.data.named import Named, middle
from kdstudy.data.stored import StoredImages

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, customary for photographs: weights of torchvision's models expect them."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels of one part of a data set.

    Args:
        images: (N, C, H, W) uint8, or images that are decoded when looked at.
        labels: (N,) int64 class in [0, K), or (N, K) float32 in {0, 1} for multi-label data.
        groups: (N,) int64, the same for images that must stay together: no choice of training images, and no split,
            divides them. None where each image stands for itself.
        side: Of the middle square that networks look at; training windows are cut from the whole. None for all.
    """

    images: Tensor | StoredImages
    labels: Tensor
    groups: Tensor | None = None
    side: int | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Tensor) -> Split:
        """Return the images at ``indices``, in that order."""
        images = self.images
        taken = images.take(indices) if isinstance(images, StoredImages) else images[indices]
        groups = None if self.groups is None else self.groups[indices]
        return replace(self, images=taken, labels=self.labels[indices], groups=groups)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what networks look at."""
        height, width = self.images.shape[2:]
        return (height, width) if self.side is None else (self.side, self.side)

    def seen(self, indices: Tensor) -> Tensor:
        """Return the images at ``indices`` as networks look at them, unchanged: uint8."""
        return middle(self.images[indices], self.size)

    def to(self, device: torch.device | str) -> Split:
        """Return the split on ``device``; itself if it is there."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def decoded(self) -> Split:
        """Return the split with all its images in memory; itself if they are."""
        return replace(self, images=self.images.decoded()) if isinstance(self.images, StoredImages) else self


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image, drawn for each image and epoch anew.

    Args:
        pad: Zeros put around the image before a window of its own size is cut out at random, in pixels, >= 0.
        flip: Whether half of the images are mirrored left to right.
        crop: Smallest share of the image's area, in (0, 1], that a random window keeps before it is scaled to
            the full size; 1 for no such window.
        cutout: Side of a black square put at a random place, in pixels; 0 for none.
        named: Augmentations by name, in order, in place of all of these.
        mean: Of the data set's channels, in [0, 1], where augmentations are named.
    """

    pad: int = 0
    flip: bool = False
    crop: float = 1.0
    cutout: int = 0
    named: tuple[Named, ...] = ()
    mean: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Source:
    """What a data-set plug-in gives: the official splits, before anything is carved from them.

    A plug-in is ``load(root: Path, download: bool, *, options) -> Source``. It depends on its arguments
    alone, raises `kdstudy.errors.DataError` (one line: where it looked, how to get the data) if it cannot,
    and is one file and one line in `kdstudy.plugins.registry.DATASETS`. One that has a train and a test data set of
    PyTorch's kind returns those instead: see `kdstudy.data.own.TrainTest`.

    Args:
        num_classes: K, >= 2.
        train: The official training split; with groups, if some of its images belong together.
        test: The official test split; never dependent on a study's seed.
        mean: Of the training images in [0, 1], one number per channel; the customary ones for photographs.
        std: Of the training images, one number per channel, positive.
        augmentation: What is customary for this data set.
        multilabel: Whether an image has any number of classes.
        classes: Names of the K classes, in order; empty where they have none.
        place: Folder that the files were found in; None where there are none.
        notes: Lines about what was left out or made up, for whoever checks or runs a study.
        left_out: Files that were left out, which ``notes`` tell of in short.
    """

    num_classes: int
    train: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    multilabel: bool = False
    classes: tuple[str, ...] = ()
    place: str | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as a study uses it.

    Args:
        name: As in the study file.
        num_classes: K.
        multilabel: Whether labels are (N, K) in {0, 1}.
        image_shape: (C, H, W).
        train: What students learn from.
        val: Carved from the official training split; what search looks at.
        test: The official test split; None unless it was asked for.
        mean: The source's: how networks normalise their input, one number per channel.
        std: The source's, one number per channel.
        augmentation: Of training batches.
        fingerprint: SHA-256 over ``fingerprints``, in hex; the same whether test was asked for or not.
        fingerprints: SHA-256 of images and labels of ``train``, ``val`` and ``test``, and of the ``split``'s
            indices.
        num_test: Images of the official test split, whether it was asked for or not.
        classes: The source's, like the rest.
        place: Likewise; where it was fetched from, if it was.
        notes: Likewise.
        left_out: Likewise.
    """

    name: str
    num_classes: int
    multilabel: bool
    image_shape: tuple[int, int, int]
    train: Split
    val: Split
    test: Split | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    fingerprint: str
    fingerprints: dict[str, str]
    num_test: int = 0
    classes: tuple[str, ...] = ()
    place: str | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def channel_statistics(images: Tensor | StoredImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of uint8 images (N, C, H, W), in [0, 1] units, per channel.

    To four decimals, so that they are the same wherever they are computed; a constant channel has standard
    deviation 1.
    """
    assert not isinstance(images, StoredImages), "statistics need the images in memory"
    values = images.double() / 255
    mean, std = values.mean(dim=(0, 2, 3)), values.std(dim=(0, 2, 3), correction=0)
    return (tuple(round(value, 4) for value in mean.tolist()), tuple(round(value, 4) or 1.0 for value in std.tolist()))
