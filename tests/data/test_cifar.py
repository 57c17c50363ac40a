"""CIFAR files, by torchvision's own classes and sums."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kdstudy.data import Augmentation
from kdstudy.data.cifar import load_cifar10, load_cifar100
from kdstudy.errors import DataError
from tests.data.layouts import expect, make_cifar, pixels

LOADERS = {"CIFAR10": load_cifar10, "CIFAR100": load_cifar100}


@pytest.mark.parametrize("name", tuple(LOADERS))
def test_images_and_labels_are_those_of_the_files_in_order(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    expect(monkeypatch, name, make_cifar(tmp_path, name))
    source = LOADERS[name](tmp_path, False)
    assert source.num_classes == 5
    assert (source.train.images.shape, source.test.images.shape) == ((200, 3, 32, 32), (50, 3, 32, 32))
    seed, count = (1, 100) if name == "CIFAR10" else (3, 200)
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(count) % 5).tolist()
    assert source.train.labels[:count].tolist() == labels
    first = torch.from_numpy(pixels(generator, labels[0], 32, 32)).permute(2, 0, 1)
    assert torch.equal(source.train.images[0], first)


def test_augmentation_is_the_customary_one_and_cutout_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, "CIFAR10", make_cifar(tmp_path, "CIFAR10"))
    assert load_cifar10(tmp_path, False).augmentation == Augmentation(pad=4, flip=True)
    assert load_cifar10(tmp_path, False, cutout=16).augmentation == Augmentation(pad=4, flip=True, cutout=16)


@pytest.mark.parametrize("name", tuple(LOADERS))
def test_a_missing_data_set_says_where_and_how(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"^data.root: no {name} at {tmp_path}/cifar-.*download: true") as error:
        LOADERS[name](tmp_path, False)
    assert "\n" not in str(error.value)
    assert "cs.toronto.edu" in str(error.value)


@pytest.mark.parametrize("name", tuple(LOADERS))
def test_a_changed_byte_is_noticed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = make_cifar(tmp_path, name)
    expect(monkeypatch, name, sums)
    file = next(tmp_path.rglob(sums["test_list"][0][0]))  # type: ignore[index]
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="incomplete or damaged") as error:
        LOADERS[name](tmp_path, False)
    assert "\n" not in str(error.value)


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, "CIFAR10", {"url": "http://127.0.0.1:9/cifar-10-python.tar.gz"})
    with pytest.raises(DataError, match="could not be downloaded") as error:
        load_cifar10(tmp_path, True)
    assert "\n" not in str(error.value)


def test_with_download_set_files_that_are_there_are_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, "CIFAR10", make_cifar(tmp_path, "CIFAR10") | {"url": "http://127.0.0.1:9/x.tar.gz"})
    assert len(load_cifar10(tmp_path, True).train) == 200
