"""Images made from a seed."""

from pathlib import Path

import torch

from kdstudy.data.split import digest
from kdstudy.data.synthetic import load


def test_options_give_shape_and_number() -> None:
    source = load(Path(), False, num_classes=3, size=10, channels=2, count=60)
    assert source.train.images.shape == (60, 2, 10, 10)
    assert source.test.images.shape == (30, 2, 10, 10)
    assert torch.bincount(source.train.labels).tolist() == [20, 20, 20]


def test_the_seed_decides() -> None:
    one, again, other = (load(Path(), False, seed=seed) for seed in (0, 0, 1))
    assert digest(one.train.images) == digest(again.train.images) != digest(other.train.images)


def test_classes_can_be_told_apart_by_their_mean_images() -> None:
    source = load(Path(), False)
    images, test = source.train.images.double(), source.test.images.double()
    means = torch.stack([images[source.train.labels == label].mean(0) for label in range(4)])
    distances = (test[:, None] - means[None]).flatten(2).norm(dim=2)
    assert (distances.argmin(1) == source.test.labels).double().mean() > 0.95
