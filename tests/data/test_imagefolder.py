"""Folders of the user's own images."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from kdstudy.data import Augmentation, Source, import_torchvision
from kdstudy.data.class_folders import LeftOut
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
    assert (found.classes, names(found)) == (expected.classes, names(expected))
    named = f"{hidden.rpartition('/')[0]}/" if hidden.endswith("x.png") else hidden
    parts = [str(tmp_path / part) for part in ("train", "test")]
    assert found.left_out == tuple(LeftOut(part, "hidden", (named,)) for part in parts)
    assert found.notes == tuple(f"left out of {part}: hidden: 1 ({named})" for part in parts)


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
    assert source.notes == (f"left out of {tmp_path}/train: no image by name: 2 (ant/film.mpg, ant/notes.txt)",)


def test_files_left_out_are_told_by_reason_the_first_by_name(tmp_path: Path) -> None:
    make_folders(tmp_path, train=2, test=1)
    train = tmp_path / "train"
    for number in range(5):
        (train / "cat" / f"n{number}.txt").write_text("no image")
    (train / "notes.txt").write_text("beside")
    shutil.copy(train / "ant" / "000.png", train / "bee" / "nameless")
    shutil.copy(train / "ant" / "000.png", train / "bee" / "nameless.001")
    os.mkfifo(train / "ant" / "pipe.png")
    source = load(tmp_path, False)
    assert [len(part.paths) for part in (source.train.images, source.test.images)] == [6, 3]
    assert source.notes == (
        f"left out of {train}: no image by name: 5 (cat/n0.txt, cat/n1.txt, cat/n2.txt, ...); an image, but not by "
        "name: 2 (bee/nameless, bee/nameless.001); beside the class folders: 1 (notes.txt); neither file nor folder: 1 "
        "(ant/pipe.png)",
    )
    assert source.left_out[0].files == tuple(f"cat/n{number}.txt" for number in range(5))


@pytest.mark.parametrize(
    ("link", "target", "reason"),
    [
        ("ant/self", "..", "a link back to a folder it is in"),
        ("ant/up", "../..", "a link back to a folder it is in"),
        ("ant/root", "/", "a link back to a folder it is in"),
        ("ant/inner/back", "..", "a link back to a folder it is in"),
        ("loop", ".", "a link back to a folder it is in"),
        ("ant/itself", "itself", "a link back to a folder it is in"),
        ("ant/second", "inner", "a link to what is there already"),
        ("ant/a", "inner", "a link to what is there already"),
    ],
)
def test_links_to_what_is_read_anyway_are_left_out(link: str, target: str, reason: str, tmp_path: Path) -> None:
    make_folders(tmp_path, train=2, test=1)
    (tmp_path / "train" / "ant" / "inner").mkdir()
    shutil.copy(tmp_path / "train" / "ant" / "000.png", tmp_path / "train" / "ant" / "inner" / "deep.png")
    expected = load(tmp_path, False)
    (tmp_path / "train" / link).symlink_to(target)
    source = load(tmp_path, False)
    assert source.train.images.paths == expected.train.images.paths
    ((folder, told, files),) = source.left_out
    assert (folder, told, files[0].rstrip("/")) == (str(tmp_path / "train"), reason, link)


def test_a_link_in_what_a_link_leads_to_may_lead_back(tmp_path: Path) -> None:
    make_folders(tmp_path / "data", train=2, test=1)
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    shutil.copy(tmp_path / "data" / "train" / "ant" / "000.png", outside / "deep" / "far.png")
    (outside / "deep" / "back").symlink_to("..")
    (tmp_path / "data" / "train" / "ant" / "link").symlink_to(outside)
    source = load(tmp_path / "data", False)
    assert names(source) == ["000.png", "001.png", "far.png", "000.png", "001.png", "000.png", "001.png"]
    assert source.left_out[0].files == ("ant/link/deep/back/",)


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("train/ant/other", "../bee"),
        ("train/dog", "ant"),
        ("test/ant/all", "../../train/ant"),
    ],
)
def test_links_that_would_count_images_twice_are_one_line(link: str, target: str, tmp_path: Path) -> None:
    make_folders(tmp_path, train=2, test=1)
    place = tmp_path / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(target)
    with pytest.raises(DataError, match=r"data\.root: .* are one folder, whose images would count twice") as caught:
        load(tmp_path, False)
    assert str(place) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("link", "target", "message"),
    [
        ("test", "train", "so that students would be tested on what they learn from"),
        ("train", "test", "so that students would be tested on what they learn from"),
        ("test/ant", "../train/ant", "whose images would count twice"),
    ],
)
def test_a_test_folder_that_is_the_training_folder_is_refused(
    link: str, target: str, message: str, tmp_path: Path
) -> None:
    make_folders(tmp_path, train=2, test=1)
    shutil.rmtree(tmp_path / link)
    (tmp_path / link).symlink_to(target)
    with pytest.raises(DataError, match=rf"data\.root: .* are one folder, {message}") as caught:
        load(tmp_path, False)
    assert str(tmp_path / link) in str(caught.value)
    assert "\n" not in str(caught.value)


def damaged(root: Path) -> None:
    """Two training images that are none, and a link to a third that is gone."""
    (root / "train" / "ant" / "empty.png").touch()
    (root / "train" / "bee" / "cut.png").write_bytes((root / "train" / "ant" / "000.png").read_bytes()[:200])
    (root / "train" / "bee" / "gone.png").symlink_to("nowhere")


def test_all_files_that_cannot_be_read_are_told_at_once(tmp_path: Path) -> None:
    make_folders(tmp_path, train=2, test=1)
    damaged(tmp_path)
    train = tmp_path / "train"
    for look in (lambda images: images.decoded(), lambda images: images.verify()):
        with pytest.raises(DataError) as caught:
            look(load(tmp_path, False).train.images)
        assert str(caught.value) == (
            f"data: {train}/ant/empty.png cannot be read (it is empty); put the file in place or take it out of the "
            f"data set (and 2 more that cannot be used: {train}/bee/cut.png, {train}/bee/gone.png)"
        )


def test_files_that_cannot_be_read_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    make_folders(tmp_path, train=2, test=1)
    expected = load(tmp_path, False)
    damaged(tmp_path)
    source = load(tmp_path, False, unreadable="leave_out")
    assert source.train.images.paths == expected.train.images.paths
    assert source.train.labels.tolist() == expected.train.labels.tolist()
    told = (
        f"left out of {tmp_path}/train: damaged, or too large: 2 (bee/cut.png, bee/gone.png); empty: 1 (ant/empty.png)"
    )
    assert source.notes == (told,)
    for file in (tmp_path / "train" / "ant").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match=r"train/ant holds no image that can be read"):
        load(tmp_path, False, unreadable="leave_out")


def test_images_that_lie_on_their_side_are_told_and_turned_on_demand(tmp_path: Path) -> None:
    make_folders(tmp_path, train=2, test=1)
    image, exif = Image.new("RGB", (40, 20), (255, 255, 255)), Image.Exif()
    image.paste((0, 0, 0), (0, 0, 20, 20))
    exif[274] = 6
    image.save(tmp_path / "train" / "ant" / "phone.jpg", exif=exif)
    lying, upright = load(tmp_path, False, size=16), load(tmp_path, False, size=16, exif="apply")
    assert lying.notes == (
        f"1 of 7 training images looked at lie on their side or mirrored in their files, such as "
        f"{tmp_path}/train/ant/phone.jpg; data.options.exif: apply turns them as the camera noted",
    )
    assert upright.notes == ()
    assert lying.train.images.decoded()[2, 0, 8].float().diff().abs().max() > 200, "dark on the left"
    assert upright.train.images.decoded()[2, 0, :, 8].float().diff().abs().max() > 200, "dark on top"
    assert lying.train.images.digest() != upright.train.images.digest()


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
