"""Folders of the user's own images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from kdstudy.data import Augmentation, Source, import_torchvision
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
    assert load(tmp_path, False).notes == (f"no test/ in {tmp_path}: the images in val/ are the test split",)
    shutil.copytree(tmp_path / "val", tmp_path / "test")
    assert "test" in Path(load(tmp_path, False).test.images.paths[0]).parts


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("train", "no image folder at .*train/ is not there"),
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


def names(source: Source) -> list[str]:
    return [Path(path).name for path in source.train.images.paths]


def test_images_come_in_the_order_of_torchvisions_image_folder(tmp_path: Path) -> None:
    make_folders(tmp_path, train=3, test=1)
    deep = tmp_path / "train" / "bee"
    for inner in ("b", "b c", "B/deeper", "a.b"):
        (deep / inner).mkdir(parents=True)
        shutil.copy(deep / "000.png", deep / inner / "Z.PNG")
        shutil.copy(deep / "000.png", deep / inner / "a.jpg")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(deep / "000.png", tmp_path / "elsewhere" / "linked.png")
    (deep / "link").symlink_to(tmp_path / "elsewhere")
    import_torchvision()
    from torchvision.datasets import ImageFolder

    expected = ImageFolder(str(tmp_path / "train"))
    source = load(tmp_path, False)
    assert list(zip(source.train.images.paths, source.train.labels.tolist(), strict=True)) == expected.samples
    assert list(source.classes) == expected.classes
    assert len(expected.samples) == 18
    assert source.notes == ()


@pytest.mark.parametrize(
    "hidden", [".ipynb_checkpoints/x.png", "ant/.ipynb_checkpoints/x.png", "ant/._000.png", ".DS_Store"]
)
def test_what_is_hidden_is_neither_class_nor_image(hidden: str, tmp_path: Path) -> None:
    make_folders(tmp_path, train=3, test=1)
    expected = load(tmp_path, False)
    for part in ("train", "test"):
        (tmp_path / part / hidden).parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / part / "ant" / "000.png", tmp_path / part / hidden)
    found = load(tmp_path, False)
    assert (found.classes, names(found), found.notes) == (expected.classes, names(expected), ())


@pytest.mark.parametrize("name", ["photo.jfif", "photo.gif", "photo.JPE", "photo.bmp", "photo.webp"])
def test_every_format_that_pillow_reads_is_taken(name: str, tmp_path: Path) -> None:
    make_folders(tmp_path, train=2, test=1)
    form = {".jfif": "JPEG", ".JPE": "JPEG"}.get(Path(name).suffix)
    Image.new("RGB", (20, 20), (250, 9, 9)).save(tmp_path / "train" / "ant" / name, format=form)
    source = load(tmp_path, False, size=8)
    assert names(source)[:3] == ["000.png", "001.png", name]
    assert source.train.images.decoded().shape == (7, 3, 8, 8)


def test_what_is_no_image_is_left_out_and_said(tmp_path: Path) -> None:
    make_folders(tmp_path, train=2, test=1)
    for name in ("notes.txt", "film.mpg"):
        (tmp_path / "train" / "ant" / name).write_text("no image")
    source = load(tmp_path, False)
    assert len(source.train) == 6
    (note,) = source.notes
    assert note == f"2 files in {tmp_path}/train left out: no image by name, such as {tmp_path}/train/ant/film.mpg"


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("train/ant/self", ".."),
        ("train/ant/up", "../.."),
        ("train/ant/inner/back", ".."),
        ("train/ant/other", "../bee"),
        ("train/dog", "ant"),
        ("train/ant/itself", "itself"),
    ],
)
def test_links_that_would_count_images_twice_are_one_line(link: str, target: str, tmp_path: Path) -> None:
    make_folders(tmp_path, train=2, test=1)
    place = tmp_path / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(target)
    with pytest.raises(DataError, match=r"data\.root: .*(are one folder|cannot be looked into)") as caught:
        load(tmp_path, False)
    assert str(place) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_test_folder_a_part_of_each_class_is_held_out(tmp_path: Path) -> None:
    make_folders(tmp_path, train=10, test=1)
    shutil.rmtree(tmp_path / "test")
    source, more = load(tmp_path, False), load(tmp_path, False, test_fraction=0.5)
    assert (len(source.train), len(source.test), len(more.test)) == (24, 6, 15)
    assert source.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    paths = [*source.train.images.paths, *source.test.images.paths]
    assert len({*paths}) == 30
    (note,) = source.notes
    assert note.startswith(f"neither test/ nor val/ in {tmp_path}: 6 of the 30 training images (20%")
    assert load(tmp_path, False).test.images.paths == source.test.images.paths


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_a_share_that_leaves_a_class_bare_names_its_folder(fraction: float, tmp_path: Path) -> None:
    make_folders(tmp_path, train=10, test=1)
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(DataError, match=r"data\.options\.test_fraction: ") as caught:
        load(tmp_path, False, test_fraction=fraction)
    assert "\n" not in str(caught.value)
    for file in sorted((tmp_path / "train" / "bee").iterdir())[1:]:
        file.unlink()
    with pytest.raises(DataError, match=r"class 'bee' has 1 image\(s\)"):
        load(tmp_path, False)
