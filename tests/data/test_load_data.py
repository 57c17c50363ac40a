"""What `load_data` promises of every registered data set."""

import dataclasses
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kdstudy.data import (
    Augmentation,
    Dataset,
    Source,
    Split,
    batches,
    data_lines,
    eval_batches,
    load_data,
    verify_images,
)
from kdstudy.data.decode import decode
from kdstudy.data.files import ImageFiles
from kdstudy.data.load import _load
from kdstudy.data.split import hold_out
from kdstudy.errors import DataError, PluginError
from kdstudy.plugins import DATASETS
from tests.data.layouts import expect, make_cifar, make_coco, make_folders

SMALL = {"coco": {"size": 16}, "imagefolder": {"size": 16}}
"""Options that keep the tests quick."""
FROM_FILES = ("coco", "imagefolder")

calls: list[dict[str, Any]] = []


def load(name: str = "synthetic", **changes: Any) -> Dataset:
    return load_data(name, **{"val_fraction": 0.2, "split_seed": 0, **changes})


def tiny(root: Path, download: bool, *, changed: int | None = None, rare: int = 4) -> Source:
    """A data set of the user's own: two classes, the second with ``rare`` images."""
    calls.append({"root": root, "download": download, "changed": changed, "rare": rare})
    images = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).repeat(1, 1, 2, 2)
    test = images[:4].clone()
    if changed is not None:
        test.view(-1)[changed] += 1
    labels = torch.tensor([0] * (20 - rare) + [1] * rare)
    return Source(
        num_classes=2,
        train=Split(images, labels),
        test=Split(test, torch.tensor([0, 0, 1, 1])),
        mean=(0.5,),
        std=(0.25,),
        augmentation=Augmentation(1, True),
    )


@pytest.fixture(autouse=True)
def fresh_cache() -> None:
    _load.cache_clear()
    calls.clear()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, object]]]:
    """Files of every data set that needs some, in the default places."""
    root = tmp_path_factory.mktemp("shelf")
    make_coco(root / "coco")
    make_folders(root)
    return root, {name: make_cifar(root, name) for name in ("CIFAR10", "CIFAR100")}


@pytest.fixture
def root(shelf: tuple[Path, dict[str, dict[str, object]]], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, sums in shelf[1].items():
        expect(monkeypatch, name, sums)
    monkeypatch.setenv("KDSTUDY_DATA", str(shelf[0]))
    return shelf[0]


def named(name: str, **changes: Any) -> Dataset:
    """Load a registered data set from its default place."""
    return load(name, **{"options": SMALL.get(name), **changes})


def positives(data: Dataset, labels: Tensor) -> Tensor:
    """Return (N, K): whether an image has a class."""
    return labels > 0 if data.multilabel else labels[:, None] == torch.arange(data.num_classes)


def epoch(data: Dataset, seed: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    order, augment = (torch.Generator().manual_seed(seed + part) for part in (0, 100))
    return list(
        batches(data.train, batch_size=16, augmentation=data.augmentation, order=order, augment=augment, device="cpu")
    )


def decoded(images: Any) -> Tensor:
    return images if isinstance(images, Tensor) else images.decoded()


@pytest.mark.parametrize("name", tuple(DATASETS))
def test_parts_are_well_formed(name: str, root: Path) -> None:
    data = named(name, with_test=True)
    assert data.test is not None
    for part in (data.train, data.val, data.test):
        assert isinstance(part.images, Tensor)
        assert part.images.dtype == torch.uint8
        assert part.images.shape == (len(part), *data.image_shape)
        assert part.labels.shape == ((len(part), data.num_classes) if data.multilabel else (len(part),))
        assert part.labels.dtype == (torch.float32 if data.multilabel else torch.int64)
        assert positives(data, part.labels).any(dim=0).all()
    assert len(data.mean) == len(data.std) == data.image_shape[0]
    assert all(0 < mean < 1 for mean in data.mean)
    assert all(std > 0 for std in data.std)


@pytest.mark.parametrize("name", tuple(DATASETS))
def test_validation_is_stratified_and_the_parts_make_up_the_whole(name: str, root: Path) -> None:
    data = named(name)
    source = DATASETS.load(name)(root, False, **SMALL.get(name, {}))
    total = len(source.train)
    assert len(data.val) == round(0.2 * total)
    assert len(data.train) + len(data.val) == total
    in_class = positives(data, source.train.labels).sum(dim=0)
    assert ((positives(data, data.val.labels).sum(dim=0) - 0.2 * in_class).abs() <= 1).all()
    together = torch.cat([data.train.images, data.val.images])
    assert torch.equal(
        together.flatten(1).long().sum(1).sort().values,
        decoded(source.train.images).flatten(1).long().sum(1).sort().values,
    )


@pytest.mark.parametrize("name", tuple(DATASETS))
def test_the_seed_decides_the_validation_split_and_never_the_test_split(name: str, root: Path) -> None:
    one, again, other = (named(name, split_seed=seed, with_test=True) for seed in (0, 0, 1))
    assert one.fingerprints == again.fingerprints
    assert one.fingerprints["split"] != other.fingerprints["split"]
    assert one.fingerprints["val"] != other.fingerprints["val"]
    assert one.fingerprints["test"] == other.fingerprints["test"]


@pytest.mark.parametrize("name", tuple(DATASETS))
def test_the_test_split_is_given_on_request_only_and_the_fingerprint_is_the_same(name: str, root: Path) -> None:
    without, with_test = named(name), named(name, with_test=True)
    assert without.test is None
    assert with_test.test is not None
    assert without.fingerprint == with_test.fingerprint


@pytest.mark.parametrize("name", tuple(DATASETS))
def test_fewer_training_images_are_a_stratified_part_taken_before_the_split(name: str, root: Path) -> None:
    data = named(name, train_images=100)
    assert (len(data.train), len(data.val)) == (80, 20)
    shares = positives(data, torch.cat([data.train.labels, data.val.labels])).double().mean(dim=0)
    everything = named(name)
    whole = positives(data, torch.cat([everything.train.labels, everything.val.labels]))
    assert torch.allclose(shares, whole.double().mean(dim=0), atol=0.01)


@pytest.mark.parametrize("name", tuple(DATASETS))
def test_equal_seeds_give_equal_batches_in_the_data_sets_own_augmentation(name: str, root: Path) -> None:
    data = named(name)
    one, again, other = (epoch(data, seed) for seed in (0, 0, 1))
    for batch, repeated in zip(one, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, repeated, strict=True))
        assert batch[0].shape == (16, *data.image_shape)
        assert batch[0].dtype == torch.float32
        assert 0 <= batch[0].min() <= batch[0].max() <= 1
    assert not torch.equal(one[0][2], other[0][2])


@pytest.mark.parametrize("name", FROM_FILES)
@pytest.mark.parametrize("workers", [0, 2])
def test_what_does_not_fit_in_memory_gives_the_same_numbers(name: str, workers: int, root: Path) -> None:
    kept = named(name, train_images=60, with_test=True)
    streamed = named(
        name, train_images=60, with_test=True, options={**SMALL[name], "memory_gb": 0.0, "workers": workers}
    )
    assert isinstance(kept.train.images, Tensor)
    assert isinstance(streamed.train.images, ImageFiles)
    assert kept.fingerprints == streamed.fingerprints
    ambient = torch.random.get_rng_state()
    batches_of = [
        [*epoch(data, 4), *eval_batches(data.val, 8, "cpu"), *eval_batches(data.test, 16, "cpu")]
        for data in (kept, streamed)
    ]
    for expected, found in zip(*batches_of, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert torch.equal(torch.random.get_rng_state(), ambient), "loading must not draw from the global stream"
    some = torch.tensor([5, 2])
    assert torch.equal(streamed.train.images[some], kept.train.images[some])


@pytest.mark.parametrize("name", FROM_FILES)
def test_the_test_split_is_not_decoded_before_it_is_asked_for(name: str, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    original = root / "coco" if name == "coco" else root
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("cifar*", "coco"))
    source = DATASETS.load(name)(copy, False, **SMALL[name])
    Path(source.test.images.paths[0]).write_bytes(b"damaged")
    assert len(named(name, root=copy).train) > 0
    with pytest.raises(DataError, match=r"cannot be read \(not a whole image"):
        named(name, root=copy, with_test=True)


@pytest.mark.parametrize("name", FROM_FILES)
def test_where_no_image_is_looked_at_none_is_decoded_and_the_fingerprint_is_the_same(
    name: str, root: Path, tmp_path: Path
) -> None:
    whole, plain = named(name, root=root), named(name, root=root, decoded=False)
    assert isinstance(whole.train.images, Tensor)
    assert isinstance(plain.train.images, ImageFiles) and isinstance(plain.val.images, ImageFiles)
    assert (plain.fingerprint, plain.fingerprints) == (whole.fingerprint, whole.fingerprints)
    assert torch.equal(plain.train.images.decoded(), whole.train.images)
    assert torch.equal(plain.val.labels, whole.val.labels)
    copy = tmp_path / "copy"
    original = root / "coco" if name == "coco" else root
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("cifar*", "coco"))
    source = DATASETS.load(name)(copy, False, **SMALL[name])
    for path in source.train.images.paths:
        Path(path).write_bytes(b"damaged")
    assert len(named(name, root=copy, decoded=False, with_test=True).train) > 0


@pytest.mark.parametrize("name", sorted({*DATASETS} - {*FROM_FILES}))
def test_images_that_are_in_memory_stay_there(name: str, root: Path) -> None:
    assert named(name, root=root, decoded=False).train.images is named(name, root=root).train.images


def test_a_users_data_set_is_loaded_once_for_equal_arguments(tmp_path: Path) -> None:
    name = f"{__name__}:tiny"
    first = load(name, root=tmp_path)
    assert load(name, root=tmp_path, with_test=True, augment=False).train is first.train
    assert len(calls) == 1
    load(name, root=tmp_path, split_seed=1)
    assert len(calls) == 2


def test_root_comes_from_the_argument_then_the_environment_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    load(f"{__name__}:tiny")
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "shelf"))
    load(f"{__name__}:tiny")
    load(f"{__name__}:tiny", root=tmp_path / "named")
    assert [call["root"] for call in calls] == [tmp_path / "data", tmp_path / "shelf", tmp_path / "named"]


def test_the_fingerprint_changes_with_any_byte_of_the_hidden_test_split() -> None:
    variants = [{"changed": changed} for changed in (None, *range(16))]
    found = {load(f"{__name__}:tiny", options=options).fingerprint for options in variants}
    assert len(found) == 17


def test_augmentation_can_be_switched_off() -> None:
    assert load(f"{__name__}:tiny").augmentation == Augmentation(1, True)
    assert load(f"{__name__}:tiny", augment=False).augmentation == Augmentation(0, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_fraction": 0.01}, "data.val_fraction: 0.01 of 20 training images is 0"),
        ({"val_fraction": 0.99}, "data.val_fraction: 0.99 of 20 training images is 20"),
        ({"train_images": 21}, "data.train_images: the data set has 20, got 21"),
        ({"train_images": 0}, "data.train_images: the data set has 20, got 0"),
        ({"options": {"rare": 1}}, "data.val_fraction: class 1 has 1 image"),
        ({"train_images": 3}, "data.train_images: class 1 has 4 image|data.val_fraction"),
    ],
)
def test_what_cannot_be_given_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(f"{__name__}:tiny", **changes)
    assert "\n" not in str(caught.value)


def test_an_unknown_data_set_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(PluginError, match="digits"):
        load("digit")


def test_a_data_set_cannot_be_changed_by_accident() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().val = None  # type: ignore[misc]


def copied(name: str, root: Path, target: Path) -> tuple[Path, Source]:
    """A data set of one's own to damage."""
    original = root / "coco" if name == "coco" else root
    shutil.copytree(original, target, ignore=shutil.ignore_patterns("cifar*", "coco"))
    return target, DATASETS.load(name)(target, False, **SMALL[name])


@pytest.mark.parametrize("memory_gb", [2.0, 0.0])
@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("name", FROM_FILES)
def test_a_damaged_file_of_any_split_is_found_before_anything_is_trained(
    name: str, part: str, memory_gb: float, root: Path, tmp_path: Path
) -> None:
    copy, source = copied(name, root, tmp_path / "copy")
    settings = {"root": copy, "val_fraction": 0.2, "options": {**SMALL[name], "memory_gb": memory_gb}}
    verify_images(name, split_seeds=[0], **settings)
    damaged = Path(getattr(source, part).images.paths[-1])
    damaged.write_bytes(damaged.read_bytes()[:100])
    _load.cache_clear()
    with pytest.raises(DataError, match=f"^data: {damaged} cannot be read"):
        verify_images(name, split_seeds=[0], **settings)


@pytest.mark.parametrize("name", FROM_FILES)
def test_a_damaged_file_that_a_later_search_takes_is_found_too(name: str, root: Path, tmp_path: Path) -> None:
    copy, _ = copied(name, root, tmp_path / "copy")
    settings = {"root": copy, "train_images": 60, "options": SMALL[name]}
    first, later = ({*_files(load(name, split_seed=seed, decoded=False, **settings))} for seed in (0, 7))
    damaged = Path(min(later - first))
    damaged.write_text("no image")
    verify_images(name, split_seeds=[0], val_fraction=0.2, **settings)
    with pytest.raises(DataError, match=f"^data: {damaged} cannot be read"):
        verify_images(name, split_seeds=[0, 7], val_fraction=0.2, **settings)


def _files(data: Dataset) -> tuple[str, ...]:
    return data.train.images.paths + data.val.images.paths


@pytest.mark.parametrize("name", FROM_FILES)
def test_what_fits_in_memory_is_decoded_once(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def counted(path: str, *settings: Any) -> Tensor:
        decoded.append(path)
        return decode(path, *settings)

    monkeypatch.setattr("kdstudy.data.files.decode", counted)
    settings = {"root": root, "options": {**SMALL[name], "workers": 1}}
    verify_images(name, split_seeds=[0, 1], val_fraction=0.2, **settings)
    data = load(name, with_test=True, **settings)
    assert data.test is not None
    assert len(decoded) == len({*decoded}) == len(data.train) + len(data.val) + len(data.test)


def in_threes(root: Path, download: bool, *, spoilt: int | None = None) -> Source:
    """120 images of two classes, each the number of its group, which has three; perhaps a class within few groups."""
    images = (torch.arange(120, dtype=torch.uint8) // 3).view(120, 1, 1, 1).repeat(1, 1, 2, 2)
    labels = torch.arange(120) % 2 if spoilt is None else (torch.arange(120) < spoilt).long()
    train = Split(images, labels, images[:, 0, 0, 0].long())
    return Source(2, train, Split(images[:4], labels[:4]), (0.5,), (0.25,), Augmentation())


@pytest.mark.parametrize("train_images", [None, 60])
def test_no_group_is_divided_whatever_the_seed(train_images: int | None) -> None:
    for seed in range(10):
        data = load(f"{__name__}:in_threes", split_seed=seed, train_images=train_images)
        shown = [part.images[:, 0, 0, 0].tolist() for part in (data.train, data.val)]
        assert not {*shown[0]} & {*shown[1]}
        assert all(count == 3 for count in Counter(shown[0] + shown[1]).values())
        assert abs(len(data.val) - 0.2 * (train_images or 120)) < 3
        assert data.val.groups is not None and data.val.groups.tolist() == shown[1]


def test_groups_are_held_out_whole() -> None:
    train, test, said = hold_out(in_threes(Path(), False).train, 0.25, "no test split", ("ant", "bee"))
    assert not {*train.groups.tolist()} & {*test.groups.tolist()}
    assert said.startswith("no test split: 30 of the 120 training images (25%")


def test_a_search_whose_groups_cannot_be_divided_is_found_before_the_first() -> None:
    """Of five groups of a class, half are two, too few to be divided again, or three."""
    name, settings = f"{__name__}:in_threes", {"train_images": 60, "val_fraction": 0.2, "options": {"spoilt": 15}}
    refused = []
    for seed in range(10):
        try:
            verify_images(name, split_seeds=[seed], **settings)
        except DataError:
            refused.append(seed)
    fine = min({*range(10)} - {*refused})
    with pytest.raises(DataError, match=r"class 1 has 6 image\(s\) in 2 group\(s\), of which [06] would be taken"):
        verify_images(name, split_seeds=[fine, refused[0]], **settings)


def unlabelled(root: Path, download: bool, *, where: str = "test", first: int = 0) -> Source:
    """Several labels an image, of which a part has none at all; or the first training images alone have some."""
    images, none = torch.zeros(20, 1, 2, 2, dtype=torch.uint8), torch.zeros(20, 2)
    some = torch.zeros(20, 2)
    some[: first or 20] = 1
    train, test = (Split(images, none if part == where else some) for part in ("train", "test"))
    return Source(2, train, test, (0.5,), (0.25,), Augmentation(), multilabel=True)


@pytest.mark.parametrize(("where", "said"), [("test", "test"), ("train", "training")])
def test_images_on_which_no_score_is_defined_are_refused(where: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"^data: the {said} split has no label on any of its \d+ images") as caught:
        load(f"{__name__}:unlabelled", options={"where": where})
    assert "\n" not in str(caught.value)


def test_a_search_whose_validation_images_have_no_label_is_found_before_the_first() -> None:
    name, settings = f"{__name__}:unlabelled", {"val_fraction": 0.2, "options": {"where": "", "first": 10}}
    verify_images(name, split_seeds=[0, 1, 2], **settings)
    sparse = {"val_fraction": 0.2, "options": {"where": "", "first": 1}}
    with pytest.raises(DataError, match=r"the (training|validation) split has no label"):
        verify_images(name, split_seeds=[0], **sparse)


def misnamed(root: Path, download: bool) -> Source:
    """A data set with a name too few."""
    return dataclasses.replace(tiny(root, download), classes=("first",))


def test_names_that_are_not_those_of_the_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"misnamed has 2 classes and names 1"):
        load(f"{__name__}:misnamed")


def empty(root: Path, download: bool) -> Source:
    """A data set without any test image."""
    whole = tiny(root, download)
    return dataclasses.replace(whole, test=whole.test.take(torch.tensor([], dtype=torch.int64)))


def test_a_test_split_without_images_is_refused() -> None:
    with pytest.raises(DataError, match="the test split has no image"):
        load(f"{__name__}:empty")


def test_lines_tell_place_parts_and_classes(root: Path) -> None:
    data = named("imagefolder")
    assert list(data_lines(data)) == [
        f"data: imagefolder in {root}, images of 3 x 16 x 16: 96 to train, 24 to validate, 24 to test",
        "data: 3 classes (training and validation images): ant 40, bee 40, cat 40",
    ]
    assert next(data_lines(load("synthetic"))).startswith("data: synthetic, images of 1 x 8 x 8: ")
    several = list(data_lines(dataclasses.replace(named("coco"), notes=("something was left out",))))
    assert several[1].startswith("data: 3 labels (training and validation images): person 95, car 49, toothbrush 21")
    assert several[2] == "data: something was left out"
    (_, many) = data_lines(load("synthetic", options={"num_classes": 20, "count": 400}))
    assert many == "data: 20 classes with 20 to 20 training and validation images each"


def test_a_class_that_is_too_small_is_told_by_its_folder(root: Path, tmp_path: Path) -> None:
    copy, source = copied("imagefolder", root, tmp_path / "copy")
    for path in source.train.images.paths[41:80]:
        Path(path).unlink()
    with pytest.raises(DataError, match=r"data\.val_fraction: class 'bee' has 1 image\(s\)"):
        named("imagefolder", root=copy)
