"""A user's own data sets, of PyTorch's map style."""

from __future__ import annotations

import logging
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, random_split

from kdstudy.data import Augmentation, TrainTest, data_lines, eval_batches, import_torchvision, load_data, verify_images
from kdstudy.data.imagefolder import load as load_folders
from kdstudy.data.items import ItemImages, Items
from kdstudy.data.load import _load
from kdstudy.data.own import as_source, targets_of
from kdstudy.errors import DataError
from kdstudy.plugins import DATASETS
from kdstudy.testing import DatasetSuite
from tests.data.layouts import CLASSES, make_folders

made: dict[str, Any] = {}
"""What `given` returns: a test puts it here."""
reads: list[int] = []


class Shapes(Dataset[Any]):
    """Bright images of one class, dark ones of the other."""

    def __init__(self, count: int = 40, start: int = 0) -> None:
        self.count, self.start = count, start

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        reads.append(index)
        label = index % 2
        image = torch.full((3, 8, 8), (self.start + index + 100 * label) % 256, dtype=torch.uint8)
        return image, label


class Told(Shapes):
    """The same, whose labels are known without reading."""

    classes = ("dark", "bright")

    @property
    def targets(self) -> list[int]:
        return [index % 2 for index in range(self.count)]


class Broken(Shapes):
    """The same with something else in the place of one item."""

    def __init__(self, image: Any = None, label: Any = None, at: int = 7) -> None:
        super().__init__()
        self.image, self.label, self.at = image, label, at

    def __getitem__(self, index: int) -> Any:
        image, label = super().__getitem__(index)
        if index == self.at:
            if isinstance(self.image, Exception):
                raise self.image
            return (image if self.image is None else self.image, label if self.label is None else self.label)
        return image, label


class Restless(Shapes):
    """Gives other pixels, or another label, each time."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = super().__getitem__(index)
        if self.what == "pixels":
            return image.roll(random.randrange(8), 1) + torch.randint(2, image.shape, dtype=torch.uint8), label
        return image, int(torch.randint(10**6, ()))


class Streamed(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(Shapes())


def given() -> Any:
    """Whatever the test put there."""
    return made["it"]


def bare(*, count: int = 40) -> Any:
    return Shapes(count), Shapes(10, start=1)


def rooted(root: Path, *, size: int = 8) -> TrainTest:
    made["root"] = root
    return TrainTest(Told(), Told(10, start=1), size=size)


def lying_about(download: bool) -> Any:
    made["download"] = download
    return Told(), Told(10, start=1)


def told(*, memory_gb: float = 2.0, workers: int = 0) -> TrainTest:
    return TrainTest(Told(), Told(10, start=1), memory_gb=memory_gb, workers=workers)


def split_at_random() -> Any:
    return random_split(Told(60), [0.8, 0.2])


def load(name: str = "given", **changes: Any) -> Any:
    arguments = {"val_fraction": 0.2, "split_seed": 0, "with_test": True, **changes}
    return load_data(f"{__name__}:{name}", **arguments)


def load_pair(train: Any, test: Any = None, **changes: Any) -> Any:
    made["it"] = TrainTest(train, Shapes(10, start=1) if test is None else test, **changes)
    return load()


@pytest.fixture(autouse=True)
def fresh() -> None:
    _load.cache_clear()
    made.clear()
    reads.clear()


class TestPair(DatasetSuite):
    plugin = f"{__name__}:bare"


class TestStreamed(DatasetSuite):
    plugin = f"{__name__}:told"
    options = {"memory_gb": 0}  # noqa: RUF012


def test_ten_lines_are_a_data_set_and_what_was_read_is_said() -> None:
    data = load("bare", options={"count": 20})
    assert (data.num_classes, data.image_shape, data.classes, data.augmentation) == (2, (3, 8, 8), (), Augmentation())
    assert (len(data.train), len(data.val), len(data.test)) == (16, 4, 10)
    assert data.test.images[:2, 0, 0, 0].tolist() == [1, 102]
    assert data.test.labels.tolist() == [0, 1] * 5
    note = "the training data set has neither targets nor labels: all 20 items were read for their labels"
    assert note in data.notes and f"data: {note}" in [*data_lines(data)]


def test_labels_are_found_without_reading_images_where_the_data_set_tells_them() -> None:
    source = as_source(told(memory_gb=0), f"{__name__}:told")
    assert isinstance(source.train.images, ItemImages)
    assert source.train.labels.tolist() == [0, 1] * 20
    assert source.classes == ("dark", "bright") and source.notes == ()
    assert len({index for index in reads if index >= 10}) == 12, "of the 16 of 40 that are read twice"


def test_labels_are_found_through_subsets_and_concatenations_as_torchvision_has_them() -> None:
    import_torchvision()
    from torchvision.datasets import FakeData

    parts = ConcatDataset([Subset(Told(), [3, 0]), Told(2)])
    labels = targets_of(parts)
    assert labels is not None and [label.value for label in labels] == [1, 0, 0, 1]
    assert targets_of(Shapes()) is None
    assert targets_of(ConcatDataset([Told(), Shapes()])) is None
    assert targets_of(FakeData(4)) is None, "it tells none"


def test_targets_that_are_not_the_labels_of_the_items_are_not_believed() -> None:
    class Renamed(Told):
        @property
        def targets(self) -> list[int]:
            return [1 - index % 2 for index in range(self.count)]

    data = load_pair(Renamed())
    assert any("targets that differ from the labels of its items" in note for note in data.notes)
    assert torch.equal(data.train.labels == 1, data.train.images[:, 0, 0, 0] >= 100)


@pytest.mark.parametrize("kind", ["array", "float", "double", "half", "pillow"])
def test_every_kind_of_image_becomes_the_same_bytes(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (3, 6, 5), dtype=torch.uint8, generator=generator)
    array = pixels.permute(1, 2, 0).numpy()
    image = {
        "array": array,
        "float": pixels.float() / 255,
        "double": pixels.double() / 255,
        "half": array.astype(np.float16) / np.float16(255),
        "pillow": Image.fromarray(array),
    }[kind]
    assert torch.equal(Items([], "training", "").pixels(image, 0, None, "crop"), pixels)


def test_grey_tensors_stay_grey_and_have_statistics_of_their_own() -> None:
    images = torch.arange(20, dtype=torch.uint8).repeat_interleave(64).view(20, 8, 8)
    data = load_pair(TensorDataset(images, torch.arange(20) % 2), TensorDataset(images[:4], torch.arange(4) % 2))
    assert data.image_shape == (1, 8, 8)
    assert data.mean == (round(9.5 / 255, 4),)
    assert data.std == (round((np.arange(20) / 255).std(), 4),)


def test_several_labels_are_a_vector(tmp_path: Path) -> None:
    images = torch.zeros(20, 3, 8, 8, dtype=torch.uint8)
    labels = torch.stack([torch.arange(20) % 2, torch.ones(20, dtype=torch.int64)], dim=1)
    data = load_pair(TensorDataset(images, labels), TensorDataset(images[:4], labels[:4]))
    assert data.multilabel and data.num_classes == 2
    assert torch.equal(data.test.labels, labels[:4].float())


def test_torchvisions_folders_give_what_imagefolder_gives(tmp_path: Path) -> None:
    make_folders(tmp_path, train=10, test=2)
    import_torchvision()
    from torchvision.datasets import ImageFolder

    source = as_source(TrainTest(*(ImageFolder(tmp_path / part) for part in ("train", "test")), size=8), "x:y")
    expected = load_folders(tmp_path, False, size=8)
    assert source.classes == expected.classes == CLASSES
    for part, own in ((source.train, expected.train), (source.test, expected.test)):
        assert torch.equal(part.labels, own.labels)
        assert torch.equal(part.images.decoded(), own.images.decoded())


def test_tensors_are_scaled_too_cropped_or_stretched() -> None:
    image = torch.zeros(1, 8, 24, dtype=torch.uint8)
    image[:, :, 8:16] = 255
    items = Items([], "training", "")
    assert items.pixels(image, 0, 8, "crop").unique().tolist() == [255]
    stretched = items.pixels(image, 0, 8, "stretch")[0, 0]
    assert stretched[0] == stretched[7] == 0 and stretched[3] == stretched[4] == 255
    flat = torch.full((1, 9, 13), 77, dtype=torch.uint8)
    assert items.pixels(flat, 0, 5, "crop").unique().tolist() == [77]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_does_not_fit_in_memory_gives_the_same_numbers(workers: int) -> None:
    kept, streamed = (load("told", options={"memory_gb": gb, "workers": workers}) for gb in (2.0, 0.0))
    assert isinstance(kept.train.images, Tensor) and isinstance(streamed.train.images, ItemImages)
    assert kept.fingerprints == streamed.fingerprints
    for one, other in zip(eval_batches(kept.val, 3, "cpu"), eval_batches(streamed.val, 3, "cpu"), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_fingerprint_knows_any_pixel_and_label_and_above_the_limit_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    variants = [
        (Shapes(), None),
        (Broken(torch.zeros(3, 8, 8, dtype=torch.uint8)), None),
        (Broken(label=0), None),
        (Shapes(), Shapes(10, start=2)),
    ]
    found = {load_pair(train, test).fingerprint for train, test in variants if not _load.cache_clear()}
    assert len(found) == 4
    monkeypatch.setattr("kdstudy.data.items.FINGERPRINT_BYTES", 100)
    monkeypatch.setattr("kdstudy.data.items.SAMPLE", 3)
    first = load("told", options={"memory_gb": 0})
    _load.cache_clear()
    assert load("told", options={"memory_gb": 2.0}).fingerprint == first.fingerprint


def test_root_and_download_are_given_to_whoever_names_them(tmp_path: Path) -> None:
    data = load("rooted", root=tmp_path, options={"size": 12})
    assert made["root"] == tmp_path and data.image_shape == (3, 12, 12)
    load("lying_about", root=tmp_path)
    assert made["download"] is False
    for name in ("given", "bare", "rooted", "lying_about"):
        assert DATASETS.options(f"{__name__}:{name}").keys() <= {"count", "size"}


def test_what_is_drawn_while_it_is_made_is_the_same_each_time() -> None:
    one = load("split_at_random").fingerprint
    _load.cache_clear()
    torch.rand(3)
    state = torch.random.get_rng_state()
    assert load("split_at_random").fingerprint == one
    assert torch.equal(torch.random.get_rng_state(), state)


def test_without_a_test_data_set_a_part_is_held_out_and_said() -> None:
    made["it"] = TrainTest(Told(), test_fraction=0.25)
    data = load()
    assert len(data.test) == 10
    assert any("there is no test data set: 10 of the 40 training images (25%" in note for note in data.notes)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (Streamed(), "the training data set can only be read in its own order (Streamed); return one with len()"),
        (DataLoader(Shapes()), "the training data set is a DataLoader (DataLoader); return what it loads from"),
        (3, "the training data set is of type int, which has no len() or no [index]"),
        (Shapes(0), "the training data set is empty; give it items"),
        (Shapes(1), "has one class, 0"),
        (Broken(ValueError("no\nluck")), "item 7 of the training data set raised ValueError: no luck; mend it"),
        (Broken("text"), "item 7 of the training data set has an image of type str"),
        (Broken(torch.zeros(3, 8, 9, dtype=torch.uint8)), "item 7 of the training data set has 3 x 8 x 9 (channels"),
        (Broken(torch.zeros(1, 8, 8, dtype=torch.uint8)), "item 7 of the training data set has 1 x 8 x 8 (channels"),
        (Broken(torch.zeros(8, 8, 3, dtype=torch.uint8)), "an image of shape (8, 8, 3); give a tensor (C, H, W)"),
        (Broken(np.zeros((3, 8, 8), np.uint8)), "an image of shape (3, 8, 8); give an array (H, W, C)"),
        (Broken(torch.zeros(3, 8, 8, dtype=torch.int64)), "an image of torch.int64; give uint8, or float in [0, 1]"),
        (Broken(torch.full((3, 8, 8), -2.5)), "a float image from -2.5 to -2.5, which must be in [0, 1]; leave out"),
        (Broken(torch.full((3, 8, 8), float("nan"))), "a float image from nan to nan, which must be in [0, 1]"),
        (Broken(label=-1), "item 7 of the training data set has the label -1; give an int from 0 to K - 1"),
        (Broken(label=1.0), "item 7 of the training data set has the label 1.0; give an int from 0 to K - 1"),
        (Broken(label="cat"), "item 7 of the training data set has the label 'cat'; give an int from 0 to K - 1"),
        (Broken(label=[0, 1]), "item 7 of the training data set has the label (0, 1), item 0 0; give all an int"),
        (Broken(label=[0, 2]), "item 7 of the training data set has the label [0, 2]; give an int"),
        (Restless("pixels"), "item 0 of the training data set is another one each time it is read, so no run could"),
        (Restless("label"), "item 0 of the training data set is another one each time it is read, so no run could"),
        ([(1, 2, 3)] * 9, "item 0 of the training data set is 3 values; give (image, label)"),
        ([{"image": 1}] * 9, "item 0 of the training data set is of type dict; give (image, label)"),
    ],
)
def test_what_is_no_data_set_of_images_with_labels_is_one_line(train: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load_pair(train)
    assert message in str(caught.value)
    assert str(caught.value).startswith("data: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (3, "data.name: 'x:y' returned a value of type int; return the pair (train, test)"),
        (None, "returned a value of type NoneType; return the pair"),
        (Shapes(), "returned a value of type Shapes; return the pair"),
        ((Told(), Broken(label=2)), "the test data set has the label 2 (item 7), but the training data set names 2"),
        ((Shapes(), Broken(label=2)), "the test data set has the label 2 (item 7), but the training data set has 2"),
        (TrainTest(Told(), Told(), mean=(0.5,)), "has mean (0.5,) and std (0.229, 0.224, 0.225), but images have 3"),
        (TrainTest(Shapes(), TensorDataset(torch.zeros(9, 1, 8, 8).byte(), torch.zeros(9).long())), "make them alike"),
    ],
)
def test_what_a_plug_in_returns_must_go_together(returned: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        as_source(returned, "x:y")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_unread_class_is_said() -> None:
    images = torch.zeros(30, 3, 8, 8, dtype=torch.uint8)
    labels = torch.arange(30) % 2 + 1
    data = load_pair(TensorDataset(images, labels), TensorDataset(images, labels))
    assert "no training item has class 0 (labels count from 0)" in data.notes


def test_a_damaged_item_is_found_before_anything_is_trained() -> None:
    class Late(Told):
        def __getitem__(self, index: int) -> Any:
            if index == 7:
                raise OSError("gone")
            return super().__getitem__(index)

    made["it"] = TrainTest(Late(), Told(10), memory_gb=0)
    name = f"{__name__}:given"
    with pytest.raises(DataError, match=r"item 7 of the training data set raised OSError: gone; mend it"):
        verify_images(name, split_seeds=[0], val_fraction=0.2)


def test_what_cannot_be_packed_is_read_in_this_process_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    class Local(Told):
        pass

    with caplog.at_level(logging.WARNING):
        data = load_pair(Local(), memory_gb=0.0, workers=2)
        found = [*eval_batches(data.val, 4, "cpu")]
    assert len(found) == 2
    (line,) = [record.getMessage() for record in caplog.records]
    assert "the training data set cannot be handed to the processes that decode (" in line


def test_a_packed_data_set_is_unpacked_when_it_is_looked_at() -> None:
    items = pickle.loads(pickle.dumps(Items(Shapes(), "test", f"{__name__}:bare")))
    assert items[3][1] == 1
