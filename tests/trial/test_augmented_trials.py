"""Trials whose images are changed by a list of augmentations: cut off, in a pack, and the teacher's own training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kdstudy.data import TrainTest
from kdstudy.plugins import allow_plugins
from kdstudy.study import PluginSpec, TrialConfig
from kdstudy.trial import inspect_parts
from kdstudy.trial.run import run_trial
from kdstudy.trial.teacher import open_teacher, prepare_teacher
from tests.configs import trial_config
from tests.data.hugging import make_hub_folder
from tests.trial.test_pack import alone, packed, several

LIST = (PluginSpec("random_resized_crop"), PluginSpec("flip"), PluginSpec("rand_augment", {"magnitude": 5}))


class Marked:
    """Noise with a bright corner: which one is the class."""

    def __init__(self, count: int) -> None:
        self.targets = [index % 2 for index in range(count)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        noise = torch.Generator().manual_seed(index)
        image = torch.randint(0, 160, (3, 8, 8), generator=noise, dtype=torch.uint8)
        image[:, : 2 + self.targets[index], :2] = 255
        return image, self.targets[index]


def marked(*, memory_gb: float = 2.0, workers: int = 0) -> TrainTest:
    return TrainTest(Marked(64), Marked(16), memory_gb=memory_gb, workers=workers)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def listed(config: TrialConfig, **data: Any) -> TrialConfig:
    return replace(config, data=replace(config.data, augment=LIST, **data))


def of(source: str, folder: Path, **options: Any) -> dict[str, Any]:
    """The keys of ``data`` that make it a data set of one's own, or a folder of Hugging Face."""
    if source == "own":
        allow_plugins(__name__)
        return {"name": f"{__name__}:marked", "options": options}
    if not (folder / "flies").exists():
        make_hub_folder(folder / "flies", "parquet", counts={"train": 64, "test": 16})
    return {"name": "huggingface", "root": str(folder / "flies"), "options": {"size": 8, **options}}


def test_trials_of_a_pack_are_what_they_are_alone() -> None:
    configs = {number: listed(config) for number, config in several("attention").items()}
    found = packed(configs)
    assert found == {number: alone(config) for number, config in configs.items()}
    plain = alone(several("attention")[0])
    assert found[0] != plain, "the list changes nothing"


class CutOff(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("source", ["own", "hugging face"])
def test_a_trial_that_is_cut_off_goes_on_where_it_was(source: str, tmp_path: Path) -> None:
    config = listed(replace(trial_config("attention", epochs=3), cache=replace(trial_config().cache, mode="off")))
    weak = replace(config.teacher, allow_weak=True)
    config = replace(config, train=replace(config.train, batch_size=16), teacher=weak)
    kept, read = (
        replace(config, data=replace(config.data, **of(source, tmp_path, memory_gb=memory, workers=0)))
        for memory in (2.0, 0.0)
    )
    network, _ = prepared(kept, tmp_path / "teachers")
    records: dict[str, list[Any]] = {"whole": [], "cut": []}
    whole = run_trial(kept, lambda record, _: records["whole"].append(record.numbers()), teacher=network)

    def report(record: Any, _: Any) -> None:
        records["cut"].append(record.numbers())
        if len(records["cut"]) == 2:
            raise CutOff

    with pytest.raises(CutOff):
        run_trial(read, report, teacher=network, folder=tmp_path / "trial")
    resumed = run_trial(read, report, teacher=network, folder=tmp_path / "trial")
    assert records["cut"][-1] == records["whole"][-1] and resumed.weights_sha256 == whole.weights_sha256
    assert len(records["cut"]) < 2 * len(records["whole"]), "it began anew"


def prepared(config: TrialConfig, folder: Path) -> tuple[Any, str]:
    made = prepare_teacher(config, folder)
    return open_teacher(folder / made.key), made.sha256


@pytest.mark.parametrize("source", ["own", "hugging face"])
def test_a_teacher_is_trained_on_the_lists_images_the_same_each_time(source: str, tmp_path: Path) -> None:
    config = trial_config()
    data = replace(config.data, **of(source, tmp_path))
    brief = replace(config.teacher, batch_size=16, epochs=2, allow_weak=True)
    config = listed(replace(config, data=data, teacher=brief))
    (_, first), (_, again) = (prepared(config, tmp_path / name) for name in ("a", "b"))
    read = replace(config, data=replace(config.data, **of(source, tmp_path, memory_gb=0.0, workers=0)))
    assert prepared(read, tmp_path / "c")[1] == first == again
    plain = replace(config, data=replace(config.data, augment=True))
    assert prepared(plain, tmp_path / "d")[1] != first


@pytest.mark.parametrize(
    ("source", "augment", "found"),
    [
        ("own", LIST, "changed by random_resized_crop, flip, rand_augment"),
        ("hugging face", LIST, "changed by random_resized_crop, flip, rand_augment"),
        ("hugging face", True, "scaled from random windows"),
    ],
)
def test_a_cache_of_all_views_is_refused_where_views_cannot_be_counted(
    source: str, augment: Any, found: str, tmp_path: Path
) -> None:
    config = trial_config("kd")
    data = replace(config.data, augment=augment, **of(source, tmp_path))
    (fault,) = inspect_parts([replace(config, data=data, cache=replace(config.cache, mode="all_views"))]).faults
    assert ": ".join(fault.told()).endswith(
        f"cache.mode: all_views needs views that can be counted, got training images that are {found}; write schedule, "
        "views or off"
    )


def test_views_of_ones_own_images_that_can_be_counted_are_taken(tmp_path: Path) -> None:
    """Nothing is customary for a data set of one's own, and mirrors of a folder's images are two views."""
    config = trial_config("kd")
    for source, options in (("own", {}), ("hugging face", {"crop": 1.0})):
        data = replace(config.data, **of(source, tmp_path, **options))
        assert not inspect_parts([replace(config, data=data, cache=replace(config.cache, mode="all_views"))]).faults
