"""How a student is updated, other than by SGD at a scheduled rate: through trials that are cut off, packed, shared."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdstudy.errors import MapError, StudyError
from kdstudy.plugins import OPTIMIZERS, allow_plugins
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.study import PluginSpec, StudentConfig, TrialConfig, parse_study
from kdstudy.trial import inspect_parts
from kdstudy.trial.dry_run import preflight
from kdstudy.trial.inputs import OwnInputs
from kdstudy.trial.run import TrialRun, run_trial
from tests.configs import TEXT, fresh_teacher, trial_config
from tests.trial.test_pack import LAYERWISE, alone, packed, several

ADAMW = PluginSpec("adamw", {"beta2": 0.99, "eps": 1e-8})
WHOLE = {
    "optimizer": ADAMW,
    "warmup_epochs": 1,
    "label_weight": 0.7,
    "label_smoothing": 0.1,
    "clip_norm": 0.5,
    "weight_decay": 0.05,
}


def of(config: TrialConfig, **train: Any) -> TrialConfig:
    return replace(config, train=replace(config.train, **train))


def recipe(policy: str = LAYERWISE, transfer: str = "fitnet", epochs: int = 3, **train: Any) -> TrialConfig:
    """A trial with everything of `WHOLE`, of six steps an epoch."""
    config = trial_config(transfer, policy, epochs=epochs, base_lr=0.003)
    config = replace(config, data=replace(config.data, options={"count": 128}))
    return of(config, **{"batch_size": 16, **WHOLE, **train})


def run(config: TrialConfig, folder: Path | None = None) -> tuple[TrialResult, list[EpochRecord]]:
    records: list[EpochRecord] = []
    result = run_trial(config, lambda record, _: records.append(record), teacher=fresh_teacher(), folder=folder)
    return result, records


class CutError(Exception):
    pass


def test_a_trial_that_is_cut_off_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, records = run(recipe())

    def cut(record: EpochRecord, _result: TrialResult | None) -> None:
        if record.epoch == 2:
            raise CutError

    with pytest.raises(CutError):
        run_trial(recipe(), cut, teacher=fresh_teacher(), folder=tmp_path)
    resumed, again = run(recipe(), tmp_path)
    assert resumed.weights_sha256 == whole.weights_sha256
    assert [record.numbers() for record in again] == [record.numbers() for record in records]


@functools.cache
def whole_of_an_epoch() -> str | None:
    return run(recipe("constant", epochs=1, warmup_epochs=1))[0].weights_sha256


@pytest.mark.parametrize("key", WHOLE)
def test_every_part_of_it_changes_the_student(key: str) -> None:
    defaults = trial_config().train
    without, _ = run(recipe("constant", epochs=1, **{"warmup_epochs": 1, key: getattr(defaults, key)}))
    assert without.weights_sha256 != whole_of_an_epoch()


def test_trials_of_a_pack_are_what_they_are_alone() -> None:
    configs = {number: of(config, **WHOLE) for number, config in several("attention", 2, policy=LAYERWISE).items()}
    assert packed(configs) == {number: alone(config) for number, config in configs.items()}


@pytest.mark.slow
def test_two_ranks_train_as_one_process() -> None:
    config = recipe(epochs=2)
    (_, expected), (both, found) = (
        run(replace(config, resources=replace(config.resources, ranks=ranks))) for ranks in (1, 2)
    )
    assert both.state == "completed"
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-4)
        assert mine.val_loss == pytest.approx(theirs.val_loss, rel=1e-4)


def test_a_gain_of_zero_is_the_constant_rate_bit_for_bit() -> None:
    still = "{layerwise: {interval: 1, gain: 0, probe_size: 16}}"
    (first, _), (second, _) = run(recipe(still, "attention")), run(recipe("constant", "attention"))
    assert first.weights_sha256 == second.weights_sha256


def test_the_rate_rises_from_a_hundredth_and_then_follows_its_schedule() -> None:
    made = TrialRun(recipe("constant", epochs=4, warmup_epochs=2), OwnInputs(), teacher=fresh_teacher())
    try:
        rates = [made.distiller.lr_at(progress) for progress in (0, 1, 2, 3)]
    finally:
        made.close()
    cosine = [1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4]
    assert rates == pytest.approx([0.003 * each * rise for each, rise in zip(cosine, (0.01, 0.505, 1, 1), strict=True)])


def moved(config: TrialConfig) -> tuple[Tensor, float]:
    """Take one step; return how far all weights moved, and the rate."""
    made = TrialRun(config, OwnInputs(), teacher=fresh_teacher())
    try:
        before = [each.detach().clone() for each in made.student.module.parameters()]
        made.begin_epoch()
        made.step()
        steps = [new.detach() - old for new, old in zip(made.student.module.parameters(), before, strict=True)]
        return torch.cat([each.flatten() for each in steps]), float(made.distiller.optimizer.param_groups[0]["lr"])
    finally:
        made.close()


def test_clipped_gradients_of_all_layers_have_the_norm_together() -> None:
    plain = {"optimizer": PluginSpec("sgd"), "warmup_epochs": 0, "weight_decay": 0.0, "momentum": 0.0, "base_lr": 1.0}
    step, rate = moved(recipe("constant", "kd", clip_norm=0.05, **plain))
    assert float(step.norm()) == pytest.approx(rate * 0.05, rel=1e-4)
    free, _ = moved(recipe("constant", "kd", clip_norm=None, **plain))
    assert float(free.norm()) > 2 * rate * 0.05
    assert torch.allclose(step / step.norm(), free / free.norm(), atol=1e-5)


def test_the_first_step_of_adamw_is_the_rate_in_every_weight() -> None:
    step, rate = moved(recipe("constant", "kd", clip_norm=None, warmup_epochs=0, weight_decay=0.0))
    assert float(step.abs().quantile(0.5)) == pytest.approx(rate, rel=1e-3)
    assert float(step.abs().max()) == pytest.approx(rate, rel=1e-3)


def rms(groups: list[dict[str, Any]], lr: float, *, alpha: float = 0.9) -> torch.optim.Optimizer:
    """An optimizer of a user's own."""
    return torch.optim.RMSprop(groups, lr=lr, alpha=alpha)


def nothing(groups: list[dict[str, Any]], lr: float) -> None:
    """Not an optimizer."""


def flat(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """Forgets which weight is of which layer."""
    return torch.optim.RMSprop([each for group in groups for each in group["params"]], lr=lr)


def some(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """Leaves weights out."""
    return torch.optim.RMSprop(groups[:1], lr=lr)


def fused(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """Computes as it likes."""
    return torch.optim.Adam(groups, lr=lr, fused=True)


def strange(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """Holds what is no plain value."""
    return torch.optim.RMSprop(groups, lr=lr, eps=np.sqrt(1e-16))


class Closing(torch.optim.SGD):
    """Wants to run the loss itself."""

    def step(self, closure: Any) -> None:  # type: ignore[override]
        closure()


def closing(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    return Closing(groups, lr=lr)


class Odd(nn.Module):
    """A network with one weight whose gradient is no number."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3)
        self.odd = nn.Parameter(torch.zeros(()))
        self.fc = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.conv(images).relu().mean((2, 3))) + 0 * self.odd.sqrt()
        return logits


def faults(config: TrialConfig) -> list[str]:
    return [": ".join(fault.told()) for fault in inspect_parts([config]).faults]


def named(name: str, **options: Any) -> PluginSpec:
    allow_plugins("tests")
    return PluginSpec(f"{__name__}:{name}", options)


@pytest.mark.parametrize(("name", "options"), [("rms", {"alpha": 0.8}), ("fused", {})])
def test_an_optimizer_of_ones_own_trains_and_goes_on_bit_for_bit(name: str, options: Any, tmp_path: Path) -> None:
    config = recipe(optimizer=named(name, **options), epochs=2)
    assert not faults(config)
    preflight(config, fresh_teacher(), batch=True)
    whole, _ = run(config, tmp_path / "whole")
    assert whole.numerics["optimizer"] == "own"

    def cut(_record: EpochRecord, _result: TrialResult | None) -> None:
        raise CutError

    with pytest.raises(CutError):
        run_trial(config, cut, teacher=fresh_teacher(), folder=tmp_path / "cut")
    assert run(config, tmp_path / "cut")[0].weights_sha256 == whole.weights_sha256
    other, _ = run(recipe(optimizer=named("rms", alpha=0.5), epochs=2))
    assert other.weights_sha256 != whole.weights_sha256


def test_what_cannot_be_is_told_before_anything_runs() -> None:
    (told,) = faults(recipe(optimizer=named("nothing")))
    assert told.endswith("must return a torch.optim.Optimizer, got NoneType; return one made of the groups it is given")
    config = recipe(optimizer=named("rms"))
    (told,) = faults(replace(config, numerics=replace(config.numerics, optimizer="fused")))
    assert "takes no kernels, got fused; write auto" in told
    for name in ("flat", "some"):
        (told,) = faults(recipe(optimizer=named(name)))
        assert "must hold every weight it is given, in groups that keep their `layer`, got others" in told
    (told,) = faults(recipe("{trust: {interval: 1, probe_size: 16}}"))
    assert "trust: follows the norms of gradients, which are not the steps of 'adamw'; use it with" in told


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("strange", r"a checkpoint cannot keep the state of '.*strange' \(numpy.*\); keep plain values and tensors"),
        ("closing", r"'.*closing' raised TypeError: .*closure"),
    ],
)
def test_an_optimizer_that_fails_after_its_first_step_is_told_before_anything_runs(name: str, said: str) -> None:
    (told,) = faults(recipe(optimizer=named(name)))
    assert re.search(said, told)


def test_a_gradient_that_is_no_number_is_named_although_all_are_clipped() -> None:
    config = replace(recipe("constant", "kd"), student=StudentConfig(named("Odd")))
    with pytest.raises(MapError, match=r"the gradient of the student's 'odd' is not a finite number"):
        preflight(config, fresh_teacher(), batch=True)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_layer_without_a_rate_stays_and_the_others_go_downhill(name: str) -> None:
    """Of every optimizer, decay included."""
    still, free = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    groups = [{"params": [still], "layer": "still"}, {"params": [free], "layer": "free"}]
    flags = {"foreach": False, "fused": False}
    optimizer = OPTIMIZERS.call(name, groups, 0.01, 0.1, 0.9, False, flags, options={})
    optimizer.param_groups[0]["lr"] = 0.0
    for _ in range(20):
        optimizer.zero_grad()
        (still.square().sum() + free.square().sum()).backward()
        optimizer.step()
    assert torch.equal(still, torch.ones(3))
    assert bool((free < 0.9).all())


def test_every_optimizer_that_may_be_drawn_is_looked_at() -> None:
    allow_plugins("tests")
    choice = f"{{choice: [sgd, '{__name__}:nothing', adamw]}}"
    text = TEXT.format(transfer="kd", policy="constant", epochs=3, base_lr=f"0.1, optimizer: {choice}")
    study = parse_study(text, "s.yaml")
    found = inspect_parts([config for _, config in study.corners()] + study.student_corners())
    assert [": ".join(fault.told()) for fault in found.faults] == [
        f"train.optimizer: '{__name__}:nothing' must return a torch.optim.Optimizer, got NoneType; return one made of "
        "the groups it is given"
    ]


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"optimizer": "adamw", "nesterov": True}, "train.nesterov: is of sgd's momentum, and 'adamw' has none such"),
        ({"optimizer": "{choice: [sgd, adamw]}", "nesterov": True}, "train.nesterov: .* 'adamw' has none such"),
        ({"warmup_epochs": 3}, "train.warmup_epochs: must be fewer than train.epochs, 3, got 3"),
    ],
)
def test_a_study_that_contradicts_itself_is_refused(train: dict[str, Any], said: str) -> None:
    text = TEXT.format(transfer="kd", policy="constant", epochs=3, base_lr=0.1)
    lines = "".join(f", {key}: {str(value).lower()}" for key, value in train.items())
    with pytest.raises(StudyError, match=said):
        parse_study(text.replace("base_lr: 0.1", f"base_lr: 0.1{lines}"), "s.yaml")
