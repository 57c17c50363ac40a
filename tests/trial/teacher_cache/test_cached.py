"""A trial that reads the teacher's outputs gives the numbers of one that computes them, and the teacher runs once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kdstudy.data import Augmentation, num_batches
from kdstudy.errors import DataError
from kdstudy.plugins import TRANSFERS
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.study import PluginSpec, TrialConfig
from kdstudy.trial.build import build_transfer, dataset_of, networks
from kdstudy.trial.run import run_trial
from kdstudy.trial.teacher_cache.cached import OutputsRecipe, teacher_outputs
from kdstudy.trial.teacher_cache.files import TensorFileCache
from tests.configs import fresh_teacher, trial_config

KEPT = [name for name in TRANSFERS if TRANSFERS.load(name).cache_neutral_options is not None]
FORMS = [
    *KEPT,
    *(
        pytest.param(form, marks=pytest.mark.slow)
        for form in (
            "{attention: {p: 1.0, kd_weight: 0.5}}",
            "{jacobian: {fraction: 0.25, normalise: teacher}}",
            "{jacobian: {form: projection}}",
            "{jacobian: {form: peak, wrt: parameters}}",
            "{hessian: {form: bilinear}}",
            "{hessian: {form: hvp, fraction: 0.5}}",
        )
    ),
]
EPOCHS = 2


class Counted:
    """A teacher, and how many batches it has been run on in batches of more than one image."""

    def __init__(self) -> None:
        self.module: nn.Module = fresh_teacher()
        self.passes = 0
        self.module.conv1.register_forward_pre_hook(self._count)

    def _count(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.passes += len(inputs[0]) > 1  # tracing runs it on a single image


def with_cache(config: TrialConfig, **cache: Any) -> TrialConfig:
    return dataclasses.replace(config, cache=dataclasses.replace(config.cache, **cache))


def run(
    config: TrialConfig, cache: Path | None = None, teacher: nn.Module | None = None
) -> tuple[TrialResult, list[dict[str, Any]]]:
    records: list[EpochRecord] = []
    result = run_trial(
        config,
        lambda record, _: records.append(record),
        teacher=teacher or fresh_teacher(),
        cache=cache and cache / "s",
    )
    return result, [record.numbers() for record in records]


def steps_of(config: TrialConfig) -> int:
    return num_batches(len(dataset_of(config, with_test=False).train), config.train.batch_size)


def test_the_built_in_methods_that_are_kept() -> None:
    assert KEPT == ["kd", "attention", "jacobian", "hessian", "dkd"]


@pytest.mark.parametrize("transfer", FORMS)
def test_schedule_gives_the_numbers_of_off_bit_for_bit(tmp_path: Path, transfer: str) -> None:
    config = trial_config(transfer, epochs=2)
    off = run(with_cache(config, mode="off"), tmp_path)
    assert not (tmp_path / "s").exists()
    making = run(with_cache(config, mode="schedule"), tmp_path)
    reading = run(with_cache(config, mode="schedule"), tmp_path)
    for result, numbers in (making, reading):
        assert result.weights_sha256 == off[0].weights_sha256
        assert numbers == off[1]


def named(config: TrialConfig) -> TrialConfig:
    augment = (PluginSpec("random_resized_crop"), PluginSpec("flip"), PluginSpec("random_erasing"))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, augment=augment))


def test_named_augmentations_are_kept_as_a_schedule_and_as_views_bit_for_bit(tmp_path: Path) -> None:
    config = named(trial_config("attention", epochs=2))
    off = run(with_cache(config, mode="off"))
    for _ in ("making", "reading"):
        kept = run(with_cache(config, mode="schedule"), tmp_path)
        assert (kept[0].weights_sha256, kept[1]) == (off[0].weights_sha256, off[1])
    assert off[0].weights_sha256 != run(with_cache(trial_config("attention", epochs=2), mode="off"))[0].weights_sha256
    views = with_cache(config, mode="views", views=1)
    computed, read = run(views), run(views, tmp_path)
    assert read[1] == computed[1] != off[1]
    with pytest.raises(DataError, match=r"^cache.mode: all_views .* changed by random_resized_crop, flip"):
        run(with_cache(config, mode="all_views"), tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("transfer", ["kd", "attention"])
def test_views_read_are_views_computed(tmp_path: Path, transfer: str, dtype: str) -> None:
    config = with_cache(trial_config(transfer, epochs=3), mode="views", views=2, dtype=dtype)
    computed, read = run(config), run(config, tmp_path)
    assert read[0].weights_sha256 == computed[0].weights_sha256
    assert read[1] == computed[1]
    off = run(with_cache(config, mode="off"))
    assert off[0].weights_sha256 != computed[0].weights_sha256, "other views in the third epoch"
    assert (off[1][:2] == computed[1][:2]) == (dtype == "float32"), "the same before, but for rounding"


@pytest.mark.parametrize("transfer", ["kd", "attention"])
def test_all_views_give_the_numbers_of_off_under_any_data_seed_and_the_teacher_runs_once_a_view(
    tmp_path: Path, transfer: str
) -> None:
    teacher = Counted()
    base = trial_config(transfer, epochs=2)
    views = 9  # the synthetic images are shifted by up to one pixel
    for data_seed in (11, 12):
        config = dataclasses.replace(base, data_seed=data_seed)
        read = run(with_cache(config, mode="all_views"), tmp_path, teacher.module)
        assert teacher.passes == views * -(-len(dataset_of(base, with_test=False).train) // 32) + 1
        live, computed = run(with_cache(config, mode="off")), run(with_cache(config, mode="all_views"))
        assert read[0].weights_sha256 == live[0].weights_sha256 == computed[0].weights_sha256
        assert read[1] == live[1] == computed[1]
    assert len(list(tmp_path.glob("s/targets-*/*.safetensors"))) == views


def test_all_views_rounded_to_half_are_the_views_computed_and_rounded(tmp_path: Path) -> None:
    config = with_cache(trial_config("kd", epochs=1), mode="all_views", dtype="float16")
    assert run(config, tmp_path)[1] == run(config)[1] != run(with_cache(config, dtype="float32"))[1]


def test_all_views_that_cannot_be_kept_are_computed_in_each_step(tmp_path: Path) -> None:
    config, teacher = with_cache(trial_config("kd", epochs=2), mode="all_views"), Counted()
    (tmp_path / "s").mkdir()
    # In use by another study, and it takes all the room there is.
    full = TensorFileCache(tmp_path / "other", "key", 10**9)
    full.get("1", lambda _: {"x": torch.zeros(30_000)})
    config = with_cache(config, max_bytes=120_000)
    found = run(config, tmp_path, teacher.module)
    assert found[1] == run(with_cache(config, mode="off"))[1]
    assert not list(tmp_path.glob("s/targets-*/*.safetensors"))
    images, steps = len(dataset_of(config, with_test=False).train), steps_of(config)
    assert teacher.passes == 1 + -(-images // 32) + 2 * steps, "the size, one view in vain, then each step"


@pytest.mark.parametrize("where", [None, "folder"])
def test_views_that_cannot_be_counted_are_refused_in_one_line(tmp_path: Path, where: str | None) -> None:
    config = with_cache(trial_config("kd", epochs=1), mode="all_views")
    data = dataset_of(config, with_test=False)
    windows = dataclasses.replace(data, augmentation=Augmentation(flip=True, crop=0.5))
    device = torch.device("cpu")
    _, teacher, context = networks(config, windows, fresh_teacher(), device)
    assert teacher is not None
    transfer = build_transfer("kd", {}, context, seed=0)
    recipe = OutputsRecipe(config, windows, teacher, transfer, context, device)
    with pytest.raises(
        DataError, match=r"^cache.mode: all_views needs views that can be counted, got .*; write"
    ) as error:
        recipe.file_bytes() if where is None else teacher_outputs(recipe, tmp_path / where)
    assert "\n" not in str(error.value)


def test_rounding_to_half_changes_the_numbers_the_same_way_however_they_are_come_by(tmp_path: Path) -> None:
    config = with_cache(trial_config("attention", epochs=1), mode="schedule", dtype="float16")
    read, computed = run(config, tmp_path), run(config)
    too_large = run(with_cache(config, max_bytes=1), tmp_path / "full")
    whole = run(with_cache(config, dtype="float32"))
    assert read[1] == computed[1]
    assert read[0].weights_sha256 == too_large[0].weights_sha256 != whole[0].weights_sha256


def test_derivatives_are_never_rounded(tmp_path: Path) -> None:
    config = with_cache(trial_config("hessian", epochs=1), mode="schedule")
    assert run(with_cache(config, dtype="float16"), tmp_path)[1] == run(config)[1]


@pytest.mark.parametrize("transfer", ["attention", "hessian"])
def test_the_teacher_runs_once_for_the_trials_of_a_study(tmp_path: Path, transfer: str) -> None:
    base = trial_config(transfer, epochs=EPOCHS)
    teacher = Counted()
    for init_seed in (1, 2):
        run(with_cache(dataclasses.replace(base, init_seed=init_seed), mode="schedule"), tmp_path, teacher.module)
    assert teacher.passes == EPOCHS * steps_of(base) + 1, "one pass a step of one trial, and one to measure the size"
    live = Counted()
    run(with_cache(base, mode="off"), tmp_path, live.module)
    assert live.passes == EPOCHS * steps_of(base)


def test_views_are_computed_once_each_and_serve_any_batch_size(tmp_path: Path) -> None:
    base = with_cache(trial_config("attention", epochs=5), mode="views", views=2)
    teacher = Counted()
    for batch_size in (32, 48):
        train = dataclasses.replace(base.train, batch_size=batch_size)
        run(dataclasses.replace(base, train=train), tmp_path, teacher.module)
    images = len(dataset_of(base, with_test=False).train)
    assert teacher.passes == 2 * -(-images // 512) + 1


@pytest.mark.parametrize(
    "change",
    [
        {"data_seed": 99},
        {"transfer": "{attention: {p: 1.0}}"},
        {"transfer": "kd"},
        {"batch_size": 16},
        {"dtype": "float16"},
    ],
)
def test_what_changes_the_observation_is_kept_apart(tmp_path: Path, change: dict[str, Any]) -> None:
    base = with_cache(trial_config("attention", epochs=1), mode="schedule")
    other = with_cache(trial_config(change.get("transfer", "attention"), epochs=1), mode="schedule")
    other = dataclasses.replace(other, data_seed=change.get("data_seed", base.data_seed))
    other = dataclasses.replace(other, train=dataclasses.replace(other.train, batch_size=change.get("batch_size", 32)))
    other = with_cache(other, dtype=change.get("dtype", "float32"))
    run(base, tmp_path)
    run(other, tmp_path)
    assert len(list(tmp_path.glob("s/targets-*"))) == 2


@pytest.mark.parametrize("same", ["{attention: {weight: 7.0, kd_weight: 0.3, temperature: 2.0}}"])
def test_weights_of_the_loss_share(tmp_path: Path, same: str) -> None:
    run(with_cache(trial_config("attention", epochs=1), mode="schedule"), tmp_path)
    run(with_cache(trial_config(same, epochs=1), mode="schedule"), tmp_path)
    assert len(list(tmp_path.glob("s/targets-*"))) == 1


def test_another_teacher_is_never_read_for_this_one(tmp_path: Path) -> None:
    config = with_cache(trial_config("kd", epochs=1), mode="schedule")
    other = fresh_teacher()
    with torch.no_grad():
        other.fc.bias += 1e-3
    run(config, tmp_path, other)
    assert run(config, tmp_path)[1] == run(config)[1]
    assert len(list(tmp_path.glob("s/targets-*"))) == 2
