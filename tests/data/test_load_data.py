"""What `load_data` promises of every registered data set."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from kdstudy.data import Augmentation, Dataset, Source, Split, load_data
from kdstudy.data.load import _load
from kdstudy.errors import DataError, PluginError
from kdstudy.registry import DATASETS

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


@pytest.mark.parametrize("name", tuple(DATASETS))
def test_parts_are_well_formed(name: str) -> None:
    data = load(name, with_test=True)
    assert data.test is not None
    for part in (data.train, data.val, data.test):
        assert part.images.dtype == torch.uint8
        assert part.images.shape == (len(part), *data.image_shape)
        assert part.labels.dtype == torch.int64
        assert part.labels.unique().tolist() == list(range(data.num_classes))
    assert len(data.mean) == len(data.std) == data.image_shape[0]
    assert all(0 < mean < 1 for mean in data.mean)
    assert all(std > 0 for std in data.std)


@pytest.mark.parametrize("name", tuple(DATASETS))
def test_validation_is_stratified_and_the_parts_make_up_the_whole(name: str) -> None:
    data = load(name)
    source = DATASETS.load(name)(Path(), False)
    total = len(source.train)
    assert len(data.val) == round(0.2 * total)
    assert len(data.train) + len(data.val) == total
    for label in range(data.num_classes):
        in_class = int((source.train.labels == label).sum())
        assert abs(int((data.val.labels == label).sum()) - 0.2 * in_class) <= 1
    together = torch.cat([data.train.images, data.val.images])
    assert torch.equal(
        together.flatten(1).long().sum(1).sort().values, source.train.images.flatten(1).long().sum(1).sort().values
    )


@pytest.mark.parametrize("name", tuple(DATASETS))
def test_the_seed_decides_the_validation_split_and_never_the_test_split(name: str) -> None:
    one, again, other = (load(name, split_seed=seed, with_test=True) for seed in (0, 0, 1))
    assert one.fingerprints == again.fingerprints
    assert one.fingerprints["split"] != other.fingerprints["split"]
    assert one.fingerprints["val"] != other.fingerprints["val"]
    assert one.fingerprints["test"] == other.fingerprints["test"]


@pytest.mark.parametrize("name", tuple(DATASETS))
def test_the_test_split_is_given_on_request_only_and_the_fingerprint_is_the_same(name: str) -> None:
    without, with_test = load(name), load(name, with_test=True)
    assert without.test is None
    assert with_test.test is not None
    assert without.fingerprint == with_test.fingerprint


@pytest.mark.parametrize("name", tuple(DATASETS))
def test_fewer_training_images_are_a_stratified_part_taken_before_the_split(name: str) -> None:
    data = load(name, train_images=100)
    assert (len(data.train), len(data.val)) == (80, 20)
    shares = torch.bincount(torch.cat([data.train.labels, data.val.labels])) / 100
    everything = load(name)
    whole = torch.cat([everything.train.labels, everything.val.labels])
    assert torch.allclose(shares, torch.bincount(whole) / len(whole), atol=0.01)


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
