"""Folders of the user's own images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kdstudy.data import Augmentation
from kdstudy.data.imagefolder import load
from kdstudy.errors import DataError
from tests.data.layouts import make_folders


def test_classes_are_sub_folders_in_order_of_their_names(tmp_path: Path) -> None:
    make_folders(tmp_path, train=4, test=2)
    source = load(tmp_path, False, size=8, crop=0.3, flip=False)
    assert source.num_classes == 3
    assert not source.multilabel
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert [Path(path).parent.name for path in source.test.images.paths] == ["ant"] * 2 + ["bee"] * 2 + ["cat"] * 2
    assert source.augmentation == Augmentation(crop=0.3)


def test_val_serves_as_test_only_where_there_is_no_test(tmp_path: Path) -> None:
    make_folders(tmp_path, train=2, test=1, held_out="val")
    assert "val" in Path(load(tmp_path, False).test.images.paths[0]).parts
    shutil.copytree(tmp_path / "val", tmp_path / "test")
    assert "test" in Path(load(tmp_path, False).test.images.paths[0]).parts


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("train", "no image folder at .*train/ is not there"),
        ("test", "no image folder at .*val/ is not there"),
        ("test/bee", "different classes, such as 'bee'"),
    ],
)
def test_what_is_missing_is_said_in_one_line(gone: str, message: str, tmp_path: Path) -> None:
    make_folders(tmp_path, train=2, test=1)
    shutil.rmtree(tmp_path / gone)
    with pytest.raises(DataError, match=message) as error:
        load(tmp_path, False)
    assert "\n" not in str(error.value)


def test_a_class_without_images_is_one_line(tmp_path: Path) -> None:
    make_folders(tmp_path, train=2, test=1)
    for file in (tmp_path / "train" / "ant").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="ant") as error:
        load(tmp_path, False)
    assert "\n" not in str(error.value)


def test_one_class_is_refused(tmp_path: Path) -> None:
    make_folders(tmp_path, train=2, test=1)
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            shutil.rmtree(tmp_path / part / name)
    with pytest.raises(DataError, match="has one class, 'cat'"):
        load(tmp_path, False)
