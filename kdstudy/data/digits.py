"""scikit-learn's handwritten digits: 1,797 grey images of 8 x 8 pixels, embedded, no download.

Source: E. Alpaydin, C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository,
1998 (its test set; scikit-learn has no split of it).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from kdstudy.data.dataset import Augmentation, Source, Split, channel_statistics

NATIVE = 8
TEST_EVERY = 5


def load(root: Path, download: bool, *, size: Literal[8, 16, 32] = 8) -> Source:
    """Load the digits; grey levels 0 to 16 become 0 to 255.

    The test split is every fifth image of each class in file order: 20 %, stratified, and the same for every
    seed and library version. Augmentation shifts by up to one native pixel and never flips, since a mirrored
    digit is another sign or none.

    Args:
        root: Not needed.
        download: Not needed.
        size: Height and width in pixels. At the native 8, the three stages of a CIFAR ResNet see 8 x 8, 4 x 4
            and 2 x 2 positions; larger sizes repeat pixels, give larger maps, and cost in proportion to their
            area.
    """
    levels_N64, classes_N = _table()
    levels = torch.from_numpy(np.rint(levels_N64 * (255 / 16)).astype(np.uint8)).view(-1, 1, NATIVE, NATIVE)
    scale = size // NATIVE
    images = levels.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    whole = Split(images, torch.from_numpy(classes_N.astype(np.int64)))
    held_out = _every_nth_of_each_class(whole.labels)
    train, test = whole.take(~held_out), whole.take(held_out)
    mean, std = channel_statistics(train.images)
    return Source(num_classes=10, train=train, test=test, mean=mean, std=std, augmentation=Augmentation(pad=scale))


def _table() -> tuple[np.ndarray, np.ndarray]:
    """Return grey levels (N, 64) and classes (N,).

    Read from scikit-learn's file, which saves the second that importing scikit-learn takes.
    """
    found = importlib.util.find_spec("sklearn")
    for folder in found.submodule_search_locations or () if found else ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            rows = np.loadtxt(file, delimiter=",")
            return rows[:, :-1], rows[:, -1]
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.data, bunch.target


def _every_nth_of_each_class(labels: torch.Tensor) -> torch.Tensor:
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels):
        chosen[(labels == label).nonzero().flatten()[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return chosen
