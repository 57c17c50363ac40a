"""Images that are in more than one split."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from kdstudy.data import Dataset, TrainTest, doubles, load_data
from kdstudy.data.doubles import BEGINNING
from tests.data.layouts import make_folders

THREE = "3 of 27 test images are training or validation images as well, byte for byte"


def folders(root: Path, **options: object) -> Dataset:
    settings = {"size": 8, "memory_gb": 0, **options}
    data = load_data("imagefolder", root=root, val_fraction=0.25, split_seed=0, options=settings, with_test=True)
    assert data.test is not None
    return data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_folders(tmp_path, train=8, test=8)
    return tmp_path


def test_folders_of_different_images_share_none(root: Path) -> None:
    assert [*doubles(folders(root))] == []


def test_test_images_that_are_learnt_are_counted_and_named(root: Path) -> None:
    for number in (0, 5):
        shutil.copy(root / "train" / "ant" / f"{number:03}.png", root / "test" / "ant" / f"copy {number}.png")
    (root / "test" / "bee" / "link.png").symlink_to(root / "train" / "cat" / "001.png")
    (line,) = doubles(folders(root))
    assert line.startswith(f"{THREE}, 1 of them with another label, such as {root}/test/")
    assert "they score what was learnt by heart; take them out of one side" in line


def test_validation_images_that_are_learnt_are_told_too(root: Path) -> None:
    for number in range(1, 8):
        shutil.copy(root / "train" / "bee" / "000.png", root / "train" / "bee" / f"{number:03}.png")
    (line,) = doubles(folders(root))
    assert line.startswith("2 of 6 validation images are training images as well, byte for byte, such as ")
    assert f"{root}/train/bee/" in line


@pytest.mark.parametrize(("place", "shared"), [(BEGINNING - 10, False), (BEGINNING + 10, False), (None, True)])
def test_files_of_one_length_and_beginning_are_compared_whole(root: Path, place: int | None, shared: bool) -> None:
    first, second = root / "train" / "ant" / "000.png", root / "test" / "ant" / "000.png"
    content = bytearray(first.read_bytes() + bytes(2 * BEGINNING))
    first.write_bytes(content)
    if place is not None:
        content[place] ^= 1
    second.write_bytes(content)
    assert len([*doubles(folders(root))]) == shared


class Noise(torch.utils.data.Dataset):
    """Random images; some of them those of another seed."""

    def __init__(self, seed: int, others: int = 0) -> None:
        self.images = torch.randint(0, 256, (20, 3, 8, 8), generator=torch.Generator().manual_seed(seed)).byte()
        self.images[:others] = Noise(0).images[:others] if others else self.images[:others]
        self.targets = [index % 2 for index in range(20)]

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], self.targets[index]


def noise(*, others: int, memory_gb: float = 2.0) -> TrainTest:
    """A pair of data sets that share images."""
    return TrainTest(Noise(0), Noise(1, others), memory_gb=memory_gb)


@pytest.mark.parametrize(("memory", "told"), [(2.0, ["4 of 20 test"]), (0.0, [])])
def test_items_in_memory_are_compared_by_their_pixels(memory: float, told: list[str]) -> None:
    options = {"others": 4, "memory_gb": memory}
    data = load_data(f"{__name__}:noise", val_fraction=0.25, split_seed=0, options=options, with_test=True)
    assert [line[:12] for line in doubles(data)] == told
    assert all("test image 0 and training image" in line or "validation image" in line for line in doubles(data))
