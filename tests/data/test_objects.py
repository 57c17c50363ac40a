"""COCO's boxes as images of one class each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kdstudy.data import Dataset, Source, data_lines, load_data, verify_images
from kdstudy.data.coco import load
from kdstudy.data.coco_file import Box, Part
from kdstudy.data.decode import Window, decode_windows
from kdstudy.data.files import ImageFiles
from kdstudy.data.load import _load
from kdstudy.data.objects import Rules, find_objects, window_of
from kdstudy.errors import DataError

WIDTH, HEIGHT = 40, 30
NAMES = {1: "ant", 5: "bee", 9: "cat"}


@pytest.fixture(autouse=True)
def fresh_cache() -> None:
    _load.cache_clear()


def write(root: Path, part: str, boxes: list[tuple[int, int, list[float]]], images: range) -> None:
    """Write images whose red is the column, green the row and blue their number, and (image, category, box)."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for number in images:
        pixels = np.stack([columns, rows, np.full_like(rows, number)], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} for n in images],
        "annotations": [{"id": i, "image_id": n, "category_id": c, "bbox": b} for i, (n, c, b) in enumerate(boxes)],
        "categories": [{"id": c, "name": name} for c, name in NAMES.items()],
    }
    (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """40 images for training with one to four boxes, and 10 for test; few of a cat."""
    generator = np.random.default_rng(0)
    for part, images in (("train", range(1, 41)), ("val", range(41, 51))):
        boxes = [
            (n, 9 if place == 0 and n % 8 == 0 else int(generator.choice([1, 5])), [2.0 + place, 3, 9 + place, 12])
            for n in images
            for place in range(1 + n % 4)
        ]
        write(tmp_path, part, boxes, images)
    return tmp_path


OBJECTS: dict[str, Any] = {"task": "objects", "size": 8, "min_side": 10, "min_boxes": 10}


def dataset(root: Path, *, seed: int = 0, train_images: int | None = None, **options: Any) -> Dataset:
    return load_data(
        "coco",
        val_fraction=0.2,
        split_seed=seed,
        root=root,
        train_images=train_images,
        options={**OBJECTS, **options},
        with_test=True,
    )


def change(root: Path, edit: Callable[[dict[str, Any]], Any], part: str = "train") -> None:
    file = root / "annotations" / f"instances_{part}.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("box", "margin", "left", "top", "side"),
    [
        ([10, 5, 8, 4], 0.0, 10, 3, 8),  # the middle is at 14, 7
        ([10, 5, 8, 4], 0.25, 8, 1, 12),  # two pixels on each side
        ([10, 5, 9, 4], 0.0, 10, 3, 9),  # 7 - 4.5 is 2.5, of which the nearest is 3
        ([0, 26, 8, 4], 0.0, 0, 22, 8),  # moved up, from 24
        ([-4, 0, 12, 6], 0.0, 0, 0, 8),  # of which 8 x 6 are inside
        ([35, 2, 100, 4], 0.0, 35, 2, 5),  # 5 x 4 are
        ([10, 10, 20, 4], 0.5, 5, 0, 30),  # the margin would be 10, but there is room for 5
        ([0, 10, 40, 5], 0.5, 0, -7, 40),  # longer than the image is high: 7 rows of black above, 3 below
        ([0, 25, 40, 5], 0.0, 0, 0, 40),  # all of it below
    ],
)
def test_a_box_gives_a_square_whose_every_pixel_is_known(
    box: list[float], margin: float, left: int, top: int, side: int, tmp_path: Path
) -> None:
    write(tmp_path, "train", [], range(7, 8))
    window = window_of(Box(0, 0, (box[0], box[1]), (box[2], box[3]), (WIDTH, HEIGHT), False), margin)
    assert window == (left, top, side, WIDTH, HEIGHT)
    (found,) = decode_windows(str(tmp_path / "images" / "7.png"), [window], side)
    expected = torch.zeros(3, side, side, dtype=torch.uint8)
    for row in range(side):
        for column in range(side):
            if 0 <= left + column < WIDTH and 0 <= top + row < HEIGHT:
                expected[:, row, column] = torch.tensor([left + column, top + row, 7])
    assert torch.equal(found, expected)


def test_the_boxes_that_count_become_images_with_their_classes(tmp_path: Path) -> None:
    boxes = [
        (2, 5, [10.0, 10, 16, 4]),
        (1, 1, [4.0, 4, 16, 16]),
        (1, 5, [0.0, 0, 15.9, 15.9]),  # small
        (1, 1, [30.0, 4, 16, 4]),  # 10 pixels are inside
        (1, 1, [4.0, 4, 16, 0.5]),  # flat
        (1, 1, [4.0, 4, -16, 20]),
        (1, 1, [90.0, 4, 16, 16]),  # outside
        (2, 1, [20.0, 8, 16, 16]),
        (2, 5, [0.0, 0, 4, 16]),
        (2, 9, [0.0, 0, 16, 16]),  # rare
        (2, 1, [1.0, 1, 30, 28]),  # a crowd
    ]
    write(tmp_path, "train", boxes, range(1, 3))
    write(tmp_path, "val", [(3, 5, [0.0, 0, 16, 16]), (3, 9, [0.0, 0, 16, 16])], range(3, 4))
    change(tmp_path, lambda content: content["annotations"][-1].update(iscrowd=1))
    source = load(tmp_path, False, task="objects", size=16, min_side=16, min_boxes=2, margin=0.0)
    assert (source.num_classes, source.classes, source.multilabel) == (2, ("ant", "bee"), False)
    images = source.train.images[torch.arange(4)]
    assert images[:, :, 0, 0].tolist() == [[4, 4, 1], [0, 0, 2], [10, 4, 2], [20, 8, 2]]  # left, top, image
    assert images[:, :, -1, -1].tolist() == [[19, 19, 1], [15, 15, 2], [25, 19, 2], [35, 23, 2]]
    assert source.train.labels.tolist() == [0, 1, 1, 0]
    assert source.train.groups is not None
    assert source.train.groups.tolist() == [0, 1, 1, 1]
    assert source.test.labels.tolist() == [1]
    assert source.notes == (
        "instances_train.json: 5 of 11 boxes are large enough; left out: 1 crowds, 3 less than a pixel wide or high "
        "inside the image, 2 with a longer side under 16 pixels",
        "instances_val.json: 2 of 2 boxes are large enough; left out: none",
        "2 classes with at least 2 boxes for training and validation (+ for test): ant 2 + 0, bee 2 + 1",
        "left out: 1 categories with fewer, 1 boxes for training and validation, 1 for test",
        "0.0% of the test images are ant: always saying so scores that",
        "no test image of ant",
    )


@pytest.mark.parametrize("train_images", [None, 60])
@pytest.mark.parametrize("val", [True, False])
def test_no_image_has_objects_in_two_splits_whatever_the_seed(root: Path, val: bool, train_images: int | None) -> None:
    if not val:
        (root / "annotations" / "instances_val.json").unlink()
    tests = set()
    for seed in range(20):
        data = dataset(root, seed=seed, train_images=train_images)
        assert data.test is not None
        shown = [{*part.images[:, 2].flatten().tolist()} for part in (data.train, data.val, data.test)]
        assert all(shown)
        assert not (shown[0] & shown[1] or shown[0] & shown[2] or shown[1] & shown[2])
        tests.add(frozenset(shown[2]))
    assert len(tests) == 1, "the test images depend on no seed"


def test_the_images_held_out_are_those_of_the_other_task(root: Path) -> None:
    (root / "annotations" / "instances_val.json").unlink()
    labels = load(root, False, size=8)
    objects = load(root, False, **OBJECTS)
    assert {*objects.test.images.paths} < {*labels.test.images.paths}, "but for images without an object that counts"
    assert {*objects.train.images.paths} < {*labels.train.images.paths}
    assert objects.notes[0] == labels.notes[0]


def part_of(boxes: list[tuple[int, int, list[float]]], images: int) -> Part:
    """An annotations file without any image file."""
    content = {
        "images": [{"id": n, "width": WIDTH, "height": HEIGHT} for n in range(images)],
        "annotations": [{"image_id": n, "category_id": c, "bbox": box} for n, c, box in boxes],
    }
    paths = tuple(f"{n}.png" for n in range(images))
    return Part(Path("file.json"), tuple(NAMES.items()), paths, torch.zeros(images, 3), content)


numbers = st.one_of(st.floats(-50, 100), st.integers(-5, 45), st.sampled_from([0.1, 1e300, -1e300, 5e-324]))
boxes_of = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([*NAMES]), st.lists(numbers, min_size=4, max_size=4)), max_size=20
)


@settings(max_examples=200, deadline=None)
@given(boxes=boxes_of, margin=st.floats(0, 1), side=st.integers(1, 40), shuffled=st.randoms())
def test_any_boxes_give_squares_around_what_is_inside(
    boxes: list[tuple[int, int, list[float]]], margin: float, side: int, shuffled: Any
) -> None:
    rules = Rules(side, 2, margin)
    found, note = find_objects(part_of(boxes, 5), rules)
    expected = Counter()
    for image, category, (left, top, width, height) in boxes:
        across = np.clip([left, left + width], 0, WIDTH)
        down = np.clip([top, top + height], 0, HEIGHT)
        inside = (across[1] - across[0], down[1] - down[0])
        if min(inside) >= 1 + 1e-9 and max(inside) >= side + 1e-9:
            expected[f"{image}.png", [*NAMES].index(category)] += 1
            assert any(
                path == f"{image}.png"
                and w.left <= across[0] + 1 and w.left + w.side >= across[1] - 1
                and w.top <= down[0] + 1 and w.top + w.side >= down[1] - 1
                for path, w in zip(found.paths, found.windows, strict=True)
            )  # fmt: skip
    counted = Counter(zip(found.paths, found.categories, strict=True))
    assert all(counted[key] >= count for key, count in expected.items())
    assert note.startswith(f"file.json: {len(found.paths)} of {len(boxes)} boxes")
    assert list(found.paths) == sorted(found.paths)
    for window in found.windows:
        assert side - 0.5 <= window.side <= WIDTH
        for start, size in ((window.left, WIDTH), (window.top, HEIGHT)):
            assert min(0, size - window.side) <= start <= max(0, size - window.side)
    again = list(boxes)
    shuffled.shuffle(again)
    assert find_objects(part_of(again, 5), rules)[0] == found, "the order of the annotations says nothing"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["annotations"][0].pop("bbox"), r"is not a file of COCO's instances \(KeyError: 'bbox'\)"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), r"ValueError: a bbox is .*, got \[1, 2, 3\]"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, "4"]), r"got \[1, 2, 3, .4.\]"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, 4, True]), r"got \[1, 2, 3, 4, true\]"),
        (lambda c: c["annotations"][0].update(bbox=None), "got null"),
        (lambda c: c["annotations"][0].update(bbox=[0, 0, float("nan"), 9]), "got .0, 0, NaN, 9."),
        (lambda c: c["annotations"][0].update(bbox=[0, 0, 10**400, 9]), "OverflowError"),
        (lambda c: c["annotations"][0].update(iscrowd="0"), 'iscrowd is 0 or 1, got "0"'),
        (lambda c: c["images"][0].pop("width"), r"KeyError: 'width'"),
        (lambda c: c["images"][0].update(height=0), r"a pixel wide and high or more, got \[40, 0\]"),
        (lambda c: c["images"][0].update(height="30"), r"got \[40, \"30\"\]"),
        (lambda c: c["images"][0].update(height=29.5), "whole number, got 29.5"),
        (lambda c: [entry.update(bbox=[0, 0, 5, 5]) for entry in c["annotations"]], "min_boxes: 0 of 3 categories"),
        (lambda c: [entry.update(category_id=5) for entry in c["annotations"]], "min_boxes: 1 of 3 categories have 10"),
        (lambda c: c["images"].append({"id": 99, "file_name": "41.png", "width": 40, "height": 30}), "are in both"),
    ],
)
def test_annotations_without_objects_are_one_line(
    edit: Callable[[dict[str, Any]], Any], message: str, root: Path
) -> None:
    change(root, edit)
    with pytest.raises(DataError, match=rf"^data\.(root|options).*{message}") as error:
        load(root, False, **OBJECTS)
    assert "\n" not in str(error.value)


def test_one_file_under_two_ids_is_one_image(root: Path) -> None:
    def twice(content: dict[str, Any]) -> None:
        content["images"] += [{**image, "id": image["id"] + 100} for image in content["images"]]
        content["annotations"] += [{**e, "image_id": e["image_id"] + 100} for e in content["annotations"]]

    change(root, twice)
    source = load(root, False, **OBJECTS)
    groups: dict[str, set[int]] = {}
    for path, group in zip(source.train.images.paths, source.train.groups.tolist(), strict=True):
        groups.setdefault(path, set()).add(group)
    assert all(len(found) == 1 for found in groups.values())


def test_options_of_the_other_task_are_refused(root: Path) -> None:
    for options in ({"min_side": 16}, {"min_boxes": 3}, {"margin": 0.0}, {"leave_out": ["person"]}):
        with pytest.raises(DataError, match="are of objects; write task: objects"):
            load(root, False, **options)


def test_an_image_of_another_size_than_its_annotations_say_is_found_before_training(root: Path) -> None:
    Image.new("RGB", (80, 60)).save(root / "images" / "3.png")
    with pytest.raises(DataError, match=r"3.png has 80 x 60 pixels, its annotations are for 40 x 30; scale") as error:
        verify_images("coco", split_seeds=[0], val_fraction=0.2, root=root, options=OBJECTS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_does_not_fit_in_memory_is_the_same(root: Path, workers: int) -> None:
    kept, streamed = dataset(root), dataset(root, memory_gb=0.0, workers=workers)
    assert kept.fingerprints == streamed.fingerprints
    assert isinstance(streamed.train.images, ImageFiles)
    chunks = torch.randperm(len(kept.train), generator=torch.Generator().manual_seed(1)).split(16)
    for chunk, images in zip(chunks, streamed.train.images.stream(chunks, "cpu"), strict=True):
        assert torch.equal(images, kept.train.images[chunk])


def test_each_image_is_decoded_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def counted(path: str, *rest: Any) -> torch.Tensor:
        decoded.append(path)
        return decode_windows(path, *rest)

    monkeypatch.setattr("kdstudy.data.files.decode_windows", counted)
    verify_images("coco", split_seeds=[0, 1], val_fraction=0.2, root=root, options=OBJECTS)
    source = load(root, False, **OBJECTS)
    dataset(root)
    assert sorted(decoded) == sorted({*source.train.images.paths, *source.test.images.paths})


def test_the_fingerprint_tells_windows_and_pixels_apart(root: Path) -> None:
    def files(source: Source) -> ImageFiles:
        assert isinstance(source.train.images, ImageFiles)
        return source.train.images

    plain = files(load(root, False, **OBJECTS))
    moved = Window(plain.windows[0].left + 1, *plain.windows[0][1:])
    shifted = ImageFiles(plain.paths, 8, "stretch", 0, 0, None, (moved, *plain.windows[1:]))
    wider = files(load(root, False, **{**OBJECTS, "margin": 0.2}))
    found = {plain.digest(), shifted.digest(), wider.digest(), plain.take(torch.arange(len(plain)).flip(0)).digest()}
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images" / "1.png")
    assert len({*found, plain.digest()}) == 5


def test_lines_tell_the_classes_and_what_was_left_out(root: Path) -> None:
    lines = list(data_lines(dataset(root)))
    assert any(line.startswith("data: 2 classes with at least 10 boxes for training") for line in lines)
    assert any(line.startswith("data: left out: 1 categories with fewer") for line in lines)


def test_a_category_that_is_left_out_gives_no_image_and_no_class(root: Path) -> None:
    whole = load(root, False, **{**OBJECTS, "min_boxes": 2})
    name, *others = whole.classes
    found = load(root, False, **{**OBJECTS, "min_boxes": 2}, leave_out=[name])
    assert list(found.classes) == others
    for part, before in ((found.train, whole.train), (found.test, whole.test)):
        assert part.labels.bincount().tolist() == before.labels.bincount()[1:].tolist()
    assert any(f"; {name} as data.options.leave_out says" in note for note in found.notes)


def test_a_category_that_does_not_exist_cannot_be_left_out(root: Path) -> None:
    name = load(root, False, **OBJECTS).classes[0]
    with pytest.raises(DataError, match=f"leave_out: .* has no category '{name}s'; did you mean '{name}'"):
        load(root, False, **OBJECTS, leave_out=[f"{name}s"])
