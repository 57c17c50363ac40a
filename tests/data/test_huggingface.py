"""Data sets as the datasets library of Hugging Face reads them."""

from __future__ import annotations

import dataclasses
import fnmatch
import io
import logging
import pickle
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kdstudy.data import Augmentation, data_lines, eval_batches, load_data
from kdstudy.data.huggingface import load
from kdstudy.data.items import ItemImages
from kdstudy.data.load import _load
from kdstudy.errors import DataError
from kdstudy.testing import DatasetSuite
from tests.data.hugging import CLASSES, ROWS, make_hub_folder, rows
from tests.data.layouts import make_folders, pixels

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep out of the cache of whoever runs the tests."""
    from huggingface_hub import constants

    _load.cache_clear()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache" / "datasets")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
    return tmp_path / "cache"


def split(
    count: int = 6, *, labels: Any = None, feature: Any = None, extra: dict[str, Any] | None = None, **names: str
) -> Any:
    """A data set of the library with images, labels, and whatever else."""
    image, label = names.get("image", "image"), names.get("label", "label")
    table = rows(count, 0)
    columns = {image: table["image"], label: labels if labels is not None else table["label"], **(extra or {})}
    features = datasets.Features({image: datasets.Image(), label: feature or datasets.ClassLabel(names=[*CLASSES])})
    for name, values in (extra or {}).items():
        features[name] = datasets.ClassLabel(num_classes=9) if name == "coarse" else datasets.Value(type_of(values))
    return datasets.Dataset.from_dict(columns, features=features)


def type_of(values: list[Any]) -> str:
    return "string" if isinstance(values[0], str) else "int64"


def saved(folder: Path, **parts: Any) -> Path:
    datasets.DatasetDict(parts).save_to_disk(str(folder))
    return folder


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(file): (file.stat().st_mtime_ns, file.stat().st_size) for file in folder.rglob("*")}


class TestFolder(DatasetSuite):
    plugin = "huggingface"
    options = {"size": 8}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def there(self, tmp_path: Path) -> None:
        self.root = str(make_hub_folder(tmp_path / "there", "parquet"))


class TestStreamed(TestFolder):
    options = {"size": 8, "memory_gb": 0, "workers": 0}  # noqa: RUF012


@pytest.mark.parametrize("kind", ["parquet", "arrow", "saved", "images"])
def test_every_kind_of_folder_is_the_same_data_set_and_is_left_as_it_is(kind: str, tmp_path: Path) -> None:
    folder = make_hub_folder(tmp_path / kind, kind)
    before = everything(folder)
    source = load(folder, False, size=8)
    assert everything(folder) == before
    assert (source.num_classes, source.classes, source.multilabel) == (3, CLASSES, False)
    assert source.augmentation == Augmentation(flip=True, crop=0.5)
    assert source.train.labels.tolist() == sorted(rows(ROWS["train"], 0)["label"])
    for part, given, seed in (("train", source.train, 0), ("test", source.test, 1)):
        expected = rows(ROWS[part], seed)
        assert torch.equal(given.images[torch.arange(len(given))], as_tensor(expected["image"]))
        assert given.labels.tolist() == expected["label"]
    assert source.place == str(folder)


def as_tensor(images: list[dict[str, Any]]) -> torch.Tensor:
    found = [np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB")) for image in images]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def test_images_are_prepared_as_those_of_imagefolder_bit_for_bit(tmp_path: Path) -> None:
    make_folders(tmp_path, train=4, test=2)
    names = {"options": {"size": 8, "resize": 12}, "root": tmp_path, "val_fraction": 0.25, "split_seed": 0}
    ours, theirs = (load_data(name, with_test=True, **names) for name in ("imagefolder", "huggingface"))
    for part in ("train", "val", "test"):
        one, other = getattr(ours, part), getattr(theirs, part)
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
        assert one.size == other.size == (8, 8) and one.images.shape[2:] == (12, 12)
    assert (ours.classes, ours.mean, ours.augmentation) == (theirs.classes, theirs.mean, theirs.augmentation)


@pytest.mark.parametrize(
    ("feature", "labels", "classes", "expected"),
    [
        (datasets.Value("int64"), [0, 2, 1, 0, 2, 1], (), [0, 2, 1, 0, 2, 1]),
        (datasets.Value("string"), ["b", "c", "a"] * 2, ("a", "b", "c"), [1, 2, 0, 1, 2, 0]),
        (datasets.Value("bool"), [True, False, True] * 2, (), [1, 0, 1, 1, 0, 1]),
        (
            [datasets.ClassLabel(names=["sun", "sea"])],
            [[0], [0, 1], []] * 2,
            ("sun", "sea"),
            [[1, 0], [1, 1], [0, 0]] * 2,
        ),
    ],
    ids=["numbers", "names", "truth", "lists"],
)
def test_labels_of_every_kind(feature: Any, labels: Any, classes: Any, expected: Any, tmp_path: Path) -> None:
    part = split(labels=labels, feature=feature)
    source = load(saved(tmp_path / "data", train=part, test=part), False, size=8, memory_gb=0)
    assert source.train.labels.tolist() == expected == source.test.labels.tolist()
    assert source.classes == classes and source.num_classes == len({*map(str, labels)} - {"[0, 1]"})
    assert source.multilabel == isinstance(labels[0], list)


def test_labels_are_read_without_decoding_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_hub_folder(tmp_path / "data", "parquet", counts={"train": 60, "test": 60})
    opened = []
    monkeypatch.setattr("kdstudy.data.columns.open_image", lambda file: opened.append(1) or Image.open(file))
    source = load(folder, False, size=8, memory_gb=0)
    assert isinstance(source.train.images, ItemImages) and len(source.train) == 60
    assert len(opened) == 2 * 3 * 16, "of each split 16 items: twice for their pixels, once for their labels"
    assert not any("were read for their labels" in note for note in source.notes)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])  # a process that imports torch
def test_images_that_do_not_fit_are_decoded_by_the_workers_to_the_same_bytes(
    workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_hub_folder(tmp_path / "data", "parquet")
    with caplog.at_level(logging.WARNING):
        kept, streamed = (
            load_data("huggingface", root=folder, val_fraction=0.25, split_seed=0, options={"size": 8, **options})
            for options in ({}, {"memory_gb": 0, "workers": workers})
        )
        assert isinstance(kept.train.images, torch.Tensor) and isinstance(streamed.train.images, ItemImages)
        assert kept.fingerprint == streamed.fingerprint
        batches = [[batch.images for batch in eval_batches(each.train, 8, "cpu")] for each in (kept, streamed)]
    assert all(torch.equal(*pair) for pair in zip(*batches, strict=True))
    assert not caplog.records, "a data set that cannot travel to the workers is said"
    assert pickle.loads(pickle.dumps(streamed.train.images.items))[0][1] == 0


def test_an_image_that_changes_changes_the_fingerprint(tmp_path: Path) -> None:
    folder = make_hub_folder(tmp_path / "data", "images")

    def fingerprint() -> str:
        _load.cache_clear()
        return load_data("huggingface", root=folder, val_fraction=0.25, split_seed=0, options={"size": 8}).fingerprint

    before = fingerprint()
    assert fingerprint() == before
    file = folder / "test" / "bee" / "004.png"
    Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    assert fingerprint() != before


@pytest.mark.parametrize(
    ("names", "options", "counts", "note"),
    [
        (("train", "test"), {}, (30, 12), None),
        (("train", "validation"), {}, (30, 12), "there is no split 'test': the images of 'validation' are the test"),
        (("train", "test", "validation"), {}, (30, 12), "split validation not used: validation images are carved"),
        (("train", "test", "validation"), {"train": "train+validation"}, (45, 12), None),
        (("train", "test", "validation"), {"test": "validation"}, (30, 15), "split test not used"),
        (("train",), {}, (24, 6), "there is no test data set: 6 of the 30 training images"),
        (("fold1", "fold2"), {"train": "fold1", "test": "fold2"}, (30, 12), None),
    ],
)
def test_splits_are_found_by_their_names_and_what_is_made_of_them_is_said(
    names: tuple[str, ...], options: dict[str, Any], counts: tuple[int, int], note: str | None, tmp_path: Path
) -> None:
    parts = {name: split(count) for name, count in zip(names, (30, 12, 15), strict=False)}
    source = load(saved(tmp_path / "data", **parts), False, size=8, **options)
    assert (len(source.train), len(source.test)) == counts
    assert [note in told for told in source.notes] == [True] if note else source.notes == ()


def test_one_data_set_without_names_of_splits_is_the_training_split(tmp_path: Path) -> None:
    split(30).save_to_disk(str(tmp_path / "data"))
    source = load(tmp_path / "data", False, size=8)
    assert (len(source.train), len(source.test)) == (24, 6)


def test_columns_are_named_where_several_could_be_meant(tmp_path: Path) -> None:
    part = split(image="photo", label="fine", extra={"coarse": [0, 1, 2] * 2, "id": [7, 8, 9] * 2})
    folder = saved(tmp_path / "data", train=part, test=part)
    with pytest.raises(DataError) as caught:
        load(folder, False)
    assert str(caught.value) == (
        "data.options.label: not one column of split 'train' alone holds classes; choose one of photo (Image), fine "
        "(ClassLabel), coarse (ClassLabel), id (int64)"
    )
    assert load(folder, False, label="coarse", size=8).num_classes == 9
    assert load(folder, False, label="fine", size=8).classes == CLASSES
    with pytest.raises(DataError, match=r"data.options.image: 'fine' is no column that holds images; choose one of"):
        load(folder, False, image="fine", label="fine")
    with pytest.raises(DataError, match=r"data.options.label: 'photos' is no column that holds classes; choose"):
        load(folder, False, label="photos")
    with pytest.raises(DataError, match=r"data.options.label: column 'photo' holds no labels but Image"):
        load(folder, False, label="photo")


def test_a_number_is_no_label_unless_its_column_says_so(tmp_path: Path) -> None:
    number = datasets.Value("int64")
    part = split(label="age", labels=[7, 8, 9] * 2, feature=number)
    with pytest.raises(DataError, match=r"data.options.label: not one column of split 'train' alone holds classes"):
        load(saved(tmp_path / "data", train=part), False)


def test_bytes_in_parquet_that_another_library_wrote_are_images(tmp_path: Path) -> None:
    import pandas

    table = rows(6, 0)
    (tmp_path / "data").mkdir()
    pandas.DataFrame(table).to_parquet(tmp_path / "data" / "train.parquet")
    source = load(tmp_path / "data", False, size=8, test_fraction=0.5)
    assert source.train.labels.tolist() == [0, 1, 2] and source.classes == ()
    assert isinstance(source.train.images, ItemImages)
    assert torch.equal(source.train.images[torch.arange(3)], as_tensor(table["image"])[source.train.images.indices])


def damage(folder: Path) -> None:
    (folder / "train" / "bee" / "012.png").write_bytes(b"no image")


def cut_short(folder: Path) -> None:
    (folder / "train-00000-of-00001.parquet").rename(folder / "train-00000-of-00003.parquet")


def unlabelled(folder: Path) -> None:
    saved(folder, train=split(), test=split(labels=[0, 1, -1, -1, -1, -1]))


def unknown(folder: Path) -> None:
    names = datasets.Value("string")
    saved(folder, train=split(labels=["a", "b"] * 3, feature=names), test=split(labels=["a", "z"] * 3, feature=names))


def empty(folder: Path) -> None:
    part = datasets.Dataset.from_dict(
        {"image": [*rows(5, 0)["image"], None], "label": [0, 1, 2] * 2}, features=split().features
    )
    saved(folder, train=part)


def text(folder: Path) -> None:
    (folder / "notes.odt").parent.mkdir()
    (folder / "notes.odt").write_text("nothing")


@pytest.mark.parametrize(
    ("kind", "change", "options", "message"),
    [
        (
            "images",
            damage,
            {},
            "data: image 12 of split 'train' (*012.png) cannot be read (not a whole image that P",
        ),
        (
            "parquet",
            cut_short,
            {},
            "data.root: *train-00001-of-00003.parquet is missing (1 of 3 such files are there)",
        ),
        (
            None,
            unlabelled,
            {},
            "data.options.test: split 'test' has no label for image 2, got -1; name a split with",
        ),
        (
            None,
            unknown,
            {},
            "data.options.test: split 'test' has the label 'z' (image 1), the training images have",
        ),
        (None, empty, {}, "data: image 5 of split 'train' is empty; take it out of the data set"),
        (None, text, {}, "data.root: *data cannot be read by the datasets library (*); name a folder of parquet or a*"),
        (None, None, {}, "data.root: no folder at *data; name one, or a data set of the hub by data.op"),
        ("saved", None, {"config": "x"}, "data.options.config: *data was saved by save_to_disk, which keeps none; l"),
        ("parquet", None, {"config": "x"}, "data.root: *cannot be read by the datasets library (*'x'*"),
        ("saved", None, {"train": "trains"}, "data.options.train: there is no split 'trains'; choose from train, test"),
        ("saved", None, {"test": "dev"}, "data.options.test: there is no split 'dev'; choose from train, test"),
        ("saved", None, {"test": "train"}, "data.options: split 'train' is taken twice; take it once"),
        ("saved", None, {"revision": "main"}, "data.options.revision: a folder has none; leave it out, or name"),
        (
            "saved",
            None,
            {"size": 16, "resize": 8},
            "data.options.resize: must be at least size, got 8 and 16; write",
        ),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_trained(
    kind: str | None, change: Callable[[Path], None] | None, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    if kind:
        make_hub_folder(folder, kind)
    if change:
        change(folder)
    with pytest.raises(DataError) as caught:
        load(folder, False, **{"size": 8, **options})
    said = str(caught.value)
    assert fnmatch.fnmatchcase(said, message.replace("[", "[[]") + "*"), said
    assert "\n" not in said


def test_images_are_turned_as_the_library_turns_them_unless_told_otherwise(tmp_path: Path) -> None:
    upright, noted = Image.fromarray(pixels(np.random.default_rng(0), 0, 8, 8)), Image.Exif()
    noted[274] = 6
    file = io.BytesIO()
    upright.save(file, "PNG", exif=noted)
    part = datasets.Dataset.from_dict(
        {"image": [{"bytes": file.getvalue(), "path": None}] * 6, "label": [0, 1, 2] * 2}, features=split().features
    )
    folder = saved(tmp_path / "data", train=part, test=part)
    shown = torch.from_numpy(np.array(part[0]["image"])).permute(2, 0, 1)
    turned, lying = (
        load(folder, False, size=8, exif=exif).train.images[torch.tensor([0])][0] for exif in ("apply", "ignore")
    )
    assert torch.equal(turned, shown) and not torch.equal(turned, lying)
    travelled = load(folder, False, size=8, memory_gb=0).train.images
    travelled = dataclasses.replace(travelled, items=pickle.loads(pickle.dumps(travelled.items)))
    assert torch.equal(travelled[torch.tensor([0])][0], shown), "another process turns them, too"
    assert torch.equal(lying, torch.from_numpy(np.array(upright)).permute(2, 0, 1))


def in_the_cache(cache: Path, commit: str = "c0ffee" * 6 + "abcd") -> Path:
    """Put a data set where the library keeps what it has fetched from the hub."""
    repository = cache / "hub" / "datasets--some--flies"
    made = make_hub_folder(repository / "snapshots" / commit, "parquet")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return made


def test_a_data_set_of_the_hub_is_taken_from_the_librarys_cache_and_its_commit_is_said(cache: Path) -> None:
    folder = in_the_cache(cache)
    source = load(Path("/no/such"), False, hub="some/flies", size=8)
    assert source.train.labels.tolist() == rows(ROWS["train"], 0)["label"]
    assert source.place == str(folder) and folder.name == "c0ffee" * 6 + "abcd"
    assert source.notes == (f"some/flies of the Hugging Face hub, revision {folder.name}",)
    assert load(Path("/no/such"), False, hub="some/flies", revision=folder.name, size=8).place == source.place
    with pytest.raises(DataError, match=r"'some/flies' at revision 'v2' is not in .*hub; write data.download: tr"):
        load(Path("/no/such"), False, hub="some/flies", revision="v2", size=8)


@pytest.mark.parametrize("download", [False, True])
def test_a_hub_that_does_not_have_it_is_one_line_that_names_the_cache_and_is_asked_only_if_allowed(
    download: bool, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(DataError) as caught:
            load(Path("/no/such"), download, hub="some/flies", revision="v1")
        server.shutdown()
    said = str(caught.value)
    assert said.startswith("data.options.hub: 'some/flies' at revision 'v1' ") and "\n" not in said
    assert f"{cache / 'hub'}" in said and "'hf download --repo-type dataset some/flies --revision v1' works" in said
    assert ("write data.download: true" in said) != download
    assert ("/api/datasets/some/flies/revision/v1" in asked) if download else not asked


def test_a_machine_without_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataError, match=r"^data.options.hub: 'some/flies' cannot be fetched into .*hub \(LocalEntryNotF"
    ):
        load(Path("/no/such"), True, hub="some/flies")


def test_without_the_library_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    for options in ({}, {"hub": "some/flies"}):
        with pytest.raises(
            DataError, match=r"^data.name: huggingface needs the datasets library; run 'pip install kds"
        ):
            load(tmp_path, False, **options)


def test_what_is_told_before_a_study(tmp_path: Path) -> None:
    folder = make_hub_folder(tmp_path / "data", "saved", counts={"train": 24})
    data = load_data("huggingface", root=folder, val_fraction=0.25, split_seed=0, options={"size": 8})
    lines = [*data_lines(data)]
    assert lines[0] == f"data: huggingface in {folder}, images of 3 x 8 x 8: 14 to train, 5 to validate, 5 to test"
    assert lines[1] == "data: 3 classes (training and validation images): ant 6, bee 6, cat 7"
    assert "are held out as the test split" in lines[-1]
