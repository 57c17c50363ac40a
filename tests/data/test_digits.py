"""The embedded digits."""

from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from kdstudy.data.digits import load
from kdstudy.data.split import digest


def test_grey_levels_are_stretched_to_a_byte() -> None:
    source = load(Path(), False)
    pixels = torch.cat([source.train.images, source.test.images])
    assert sorted(pixels.unique().tolist()) == [round(level * 255 / 16) for level in range(17)]


def test_the_test_split_is_every_fifth_image_of_each_class() -> None:
    bunch = load_digits()
    source = load(Path(), False)
    assert (len(source.train), len(source.test)) == (1442, 355)
    sevens = bunch.images[bunch.target == 7][4::5]
    ours = source.test.images[source.test.labels == 7, 0]
    assert torch.equal(ours, torch.from_numpy((sevens * (255 / 16)).round()).to(torch.uint8))


def test_the_split_never_changes() -> None:
    source = load(Path(), False)
    recorded = "f9e8eec05fe70bd7478dcf8e80b05b4c7227124543faf18e184804359ce49eae"
    assert digest(source.test.images, source.test.labels) == recorded


@pytest.mark.parametrize("size", [8, 16, 32])
def test_larger_sizes_repeat_pixels(size: int) -> None:
    native, large = load(Path(), False), load(Path(), False, size=size)
    scale = size // 8
    assert large.train.images.shape[1:] == (1, size, size)
    assert torch.equal(large.train.images[:, :, ::scale, ::scale], native.train.images)
    assert torch.equal(large.train.images[:, :, scale - 1 :: scale, scale - 1 :: scale], native.train.images)
    assert (large.mean, large.std) == (native.mean, native.std)
    assert (large.augmentation.pad, large.augmentation.flip) == (scale, False)


def test_mean_and_std_are_those_of_the_training_images() -> None:
    source = load(Path(), False)
    values = source.train.images.double() / 255
    assert source.mean[0] == pytest.approx(values.mean().item(), abs=5e-5)
    assert source.std[0] == pytest.approx(values.std().item(), abs=1e-4)
