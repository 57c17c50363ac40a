"""COCO's layout, read as several labels an image."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from kdstudy.data.coco import load
from kdstudy.errors import DataError
from tests.data.layouts import CATEGORIES, make_coco


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_coco(tmp_path / "coco", train=12, val=6)
    return tmp_path / "coco"


def change(root: Path, edit: Callable[[dict[str, Any]], Any], part: str = "train") -> None:
    file = root / "annotations" / f"instances_{part}.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def test_an_images_labels_are_the_set_of_its_categories_by_ascending_id(root: Path) -> None:
    content = json.loads((root / "annotations" / "instances_train.json").read_text())
    source = load(root, False, size=8)
    assert source.multilabel
    assert source.num_classes == 3
    assert len(source.train) == 12
    assert len(source.test) == 6
    ids = sorted(image["id"] for image in content["images"])
    for image, labels, path in zip(ids, source.train.labels.tolist(), source.train.images.paths, strict=True):
        found = {entry["category_id"] for entry in content["annotations"] if entry["image_id"] == image}
        assert labels == [float(category in found) for category in sorted(CATEGORIES)]
        assert path.endswith(f"{image:012}.jpg")
    assert source.train.labels[0].sum() == 0, "an image without objects stays"


def test_images_are_whole_and_square(root: Path) -> None:
    striped = Image.new("RGB", (32, 24), (0, 0, 0))
    striped.paste((255, 255, 255), (0, 0, 16, 24))
    path = Path(load(root, False, size=8).train.images.paths[3])
    striped.save(path, format="PNG")
    image = load(root, False, size=8).train.images[torch.tensor([3])][0]
    assert image.shape == (3, 8, 8)
    assert torch.equal(image[:, :, :3], torch.full((3, 8, 3), 255, dtype=torch.uint8))
    assert torch.equal(image[:, :, 5:], torch.zeros(3, 8, 3, dtype=torch.uint8))


def test_a_root_that_has_a_folder_coco_will_do(root: Path) -> None:
    assert load(root.parent, False).train.images.paths == load(root, False).train.images.paths


def test_coco_2017_as_distributed_is_found(root: Path) -> None:
    for part in ("train", "val"):
        (root / "annotations" / f"instances_{part}.json").rename(root / "annotations" / f"instances_{part}2017.json")
        shutil.copytree(root / "images", root / f"{part}2017")
    shutil.rmtree(root / "images")
    assert len(load(root, False).train) == 12


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("annotations"), r"is not a file of COCO's instances \(KeyError: 'annotations'\)"),
        (lambda c: c["annotations"][0].update(category_id=4), r"\(KeyError: 4\)"),
        (lambda c: c["annotations"][0].update(image_id=999), r"\(KeyError: 999\)"),
        (lambda c: c.update(categories=c["categories"][:1], annotations=[]), "12 images and 1 categories"),
        (lambda c: c["categories"][0].update(name="other"), "different categories for train and val"),
        (lambda c: c["images"][0].update(file_name="gone.jpg"), "1 of 12 images of .* such as gone.jpg"),
        (lambda c: c["images"][0].update(file_name=""), "1 of 12 images of .* are not in"),
        (lambda c: c["images"].append(dict(c["images"][3])), r"lists image 9 more than once \(1 such\)"),
        (lambda c: c["images"].append({**c["images"][3], "id": "9"}), r"lists image 9 more than once"),
        (lambda c: c["images"].append({**c["images"][0], "file_name": c["images"][1]["file_name"]}), "lists image 12 "),
        (lambda c: c["categories"].append({"id": 3, "name": "van"}), r"lists category 3 more than once"),
        (lambda c: c["images"][0].update(id=""), r"\(ValueError: invalid literal"),
        (lambda c: c["images"][0].update(id=None), r"\(TypeError: an id is a whole number, got null\)"),
        (lambda c: c["images"][0].update(id=1.5), r"\(TypeError: an id is a whole number, got 1.5\)"),
        (lambda c: c["categories"][0].update(id=True), r"\(TypeError: an id is a whole number, got true\)"),
        (lambda c: c.update(annotations=[]), "has no annotation, so that nothing could be scored"),
    ],
)
def test_annotations_that_do_not_fit_are_one_line(
    edit: Callable[[dict[str, Any]], Any], message: str, root: Path
) -> None:
    change(root, edit)
    with pytest.raises(DataError, match=message) as error:
        load(root, False)
    assert "\n" not in str(error.value)


def test_a_missing_data_set_says_where_and_how(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no COCO at {tmp_path} or {tmp_path}/coco .*cocodataset.org") as error:
        load(tmp_path, False)
    assert "\n" not in str(error.value)


def test_broken_json_is_one_line(root: Path) -> None:
    (root / "annotations" / "instances_val.json").write_text('{"images": [')
    with pytest.raises(DataError, match="JSONDecodeError") as error:
        load(root, False)
    assert "\n" not in str(error.value)


def test_a_val_file_without_any_annotation_is_refused(root: Path) -> None:
    change(root, lambda content: content.update(annotations=[]), "val")
    with pytest.raises(DataError, match=r"instances_val.json has no annotation"):
        load(root, False)


def test_the_last_image_twice_without_annotations_is_refused(root: Path) -> None:
    """The labels of the second would be those of nobody."""
    last = 12

    def edit(content: dict[str, Any]) -> None:
        content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != last]
        content["images"].append(next(dict(image) for image in content["images"] if image["id"] == last))

    change(root, edit)
    with pytest.raises(DataError, match="lists image 12 more than once"):
        load(root, False)


def test_ids_may_be_digits_or_whole_reals(root: Path) -> None:
    expected = load(root, False, size=8)

    def spell(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image["id"] = str(image["id"])
        for entry in content["annotations"]:
            entry["image_id"] = float(entry["image_id"])

    change(root, spell)
    found = load(root, False, size=8)
    assert torch.equal(found.train.labels, expected.train.labels)
    assert found.train.images.paths == expected.train.images.paths


def test_without_a_val_file_a_part_of_train_is_held_out(tmp_path: Path) -> None:
    make_coco(tmp_path, train=60, val=6)
    whole = load(tmp_path, False, size=8)
    (tmp_path / "annotations" / "instances_val.json").unlink()
    found = load(tmp_path, False, size=8, test_fraction=0.25)
    assert (len(found.train), len(found.test)) == (45, 15)
    assert {*found.train.images.paths, *found.test.images.paths} == {*whole.train.images.paths}
    assert found.test.labels.sum(dim=0).tolist() == [
        pytest.approx(0.25 * count, abs=1) for count in whole.train.labels.sum(dim=0).tolist()
    ]
    (note,) = found.notes
    assert note.startswith(f"no annotations of val in {tmp_path}/annotations: 15 of the 60 training images")
