"""What every registered policy promises of whole trials: gain 0, bounds, mean rate, checkpoint and resume.

The suite that a policy's author runs (`kdstudy.testing.PolicySuite`) asks the same of the policy alone.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kdstudy.errors import StudyError
from kdstudy.plugins import POLICIES
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.study import TrialConfig, parse_study
from kdstudy.training.norms import LayerNorms
from kdstudy.trial import run_pack, run_trial
from kdstudy.trial.checks import inspect_parts
from kdstudy.trial.inputs import OwnInputs
from kdstudy.trial.run import TrialRun
from tests.configs import TEXT, fresh_teacher, trial_config

EPOCHS = 4
# Parameters of resnet8 for images of one channel, by crucial layer.
SIZES = (5136 - 288, 14528, 57728)
BOUNDS = {"low": 0.8, "high": 1.1}
MEASURED = {"interval": 1, "probe_size": 64}
OPTIONS: dict[str, dict[str, object]] = {
    "constant": {},
    "layerwise": {**MEASURED, **BOUNDS, "gain": 2.0, "momentum": 0.5},
    "decay": {},
    "walk": {**MEASURED, **BOUNDS, "gain": 2.0, "momentum": 0.5, "redraw": "never"},
    "replay": {"multipliers": [[0.9, 1.0, 1.2], [1.3, 1.0, 0.7], [2.0, 1.0, 1.1]], "normalise": "parameters"},
    "placebo": {**BOUNDS},
    "lag": {**MEASURED, **BOUNDS, "gain": 2.0, "momentum": 0.5},
    "progress": {**MEASURED, **BOUNDS, "gain": 2.0},
    "trust": {**MEASURED, **BOUNDS, "gain": 2.0},
}
GAIN = [name for name in POLICIES if "gain" in POLICIES.options(name)]


def config(name: str, **changes: object) -> TrialConfig:
    options = OPTIONS[name] | changes
    written = ", ".join(f"{key}: {value}" for key, value in options.items())
    policy = f"{{{name}: {{{written}}}}}" if options else name
    few = TEXT.replace("val_fraction: 0.25", "val_fraction: 0.25, train_images: 128")
    study = parse_study(few.format(transfer="attention", policy=policy, epochs=EPOCHS, base_lr=0.05), "few.yaml")
    return study.config(study.arms[0].name, {}, data_seed=11, init_seed=12)


@functools.cache
def teacher() -> torch.nn.Module:
    return fresh_teacher()  # no trial changes it


class StopError(Exception):
    pass


def run(name: str, folder: Path | None = None, stop_after: int | None = None, **changes: object):
    records: list[EpochRecord] = []

    def report(record: EpochRecord, result: TrialResult | None) -> None:
        records.append(record)
        if record.epoch == stop_after:
            raise StopError

    result = run_trial(config(name, **changes), report, teacher=teacher(), folder=folder)
    return result, records


@functools.cache
def whole(name: str) -> tuple[TrialResult, list[EpochRecord]]:
    return run(name)


def numbers(records: list[EpochRecord]) -> list[dict]:
    return [record.numbers() for record in records]


@pytest.mark.parametrize("name", GAIN)
def test_without_gain_a_trial_is_that_of_the_constant_policy_bit_for_bit(name: str) -> None:
    result, records = run(name, gain=0.0)
    constant, expected = whole("constant")
    assert result.weights_sha256 == constant.weights_sha256
    assert [record.val for record in records] == [record.val for record in expected]
    assert {layer.multiplier for record in records for layer in record.layers} == {1.0}
    moved, _ = whole(name)
    assert moved.weights_sha256 != constant.weights_sha256


@pytest.mark.parametrize("name", list(POLICIES))
def test_the_mean_parameter_of_every_epoch_learns_at_the_base_rate_within_the_bounds(name: str) -> None:
    low, high = OPTIONS[name].get("low", 0.0), OPTIONS[name].get("high", float("inf"))
    for record in whole(name)[1]:
        alphas = [record.rates[layer] / record.rate for layer in ("layer1", "layer2", "layer3")]
        mean = sum(size * alpha for size, alpha in zip(SIZES, alphas, strict=True)) / sum(SIZES)
        assert mean == pytest.approx(1.0, abs=1e-9)
        assert all(low - 1e-9 <= alpha <= high + 1e-9 for alpha in alphas)


@pytest.mark.parametrize("name", list(POLICIES))
def test_a_trial_goes_on_from_its_checkpoint_as_if_it_had_never_stopped(name: str, tmp_path: Path) -> None:
    with pytest.raises(StopError):
        run(name, tmp_path, stop_after=2)
    result, records = run(name, tmp_path)
    expected, all_of_it = whole(name)
    assert numbers(records) == numbers(all_of_it)
    assert result.weights_sha256 == expected.weights_sha256


def test_in_a_pack_each_policy_does_what_it_does_alone() -> None:
    names = ["lag", "progress", "trust"]
    found: dict[int, list[EpochRecord]] = {number: [] for number in range(len(names))}

    def report(number: int, record: EpochRecord | None, result: TrialResult | None) -> bool:
        assert record is not None
        found[number].append(record)
        return True

    run_pack({number: config(name) for number, name in enumerate(names)}, report, teacher=teacher())
    assert [numbers(found[number]) for number in found] == [numbers(whole(name)[1]) for name in names]


@pytest.mark.parametrize("name", ["layerwise", "walk", "replay", "lag", "progress", "trust"])
def test_every_update_records_the_chance_level(name: str) -> None:
    first, *_, last = whole(name)[1]
    assert [layer.layer for layer in first.layers] == ["layer1", "layer2", "layer3"]
    assert all(layer.chance is not None and 0.0 < layer.chance < 1.0 for layer in first.layers)
    assert not last.layers, "no update after the last epoch"


def test_what_moved_the_rates_is_what_was_recorded() -> None:
    records = whole("progress")[1]
    for record in records[:-1]:
        left = [record.terms[f"attention/layer{k}"] / records[0].terms[f"attention/layer{k}"] for k in (1, 2, 3)]
        expected = [math.log(share / (sum(left) / 3)) for share in left]
        assert [layer.momentum for layer in record.layers] == pytest.approx(expected, abs=1e-12)
    eta = [0.0, 0.0, 0.0]
    for record in whole("lag")[1][:-1]:
        logs = [math.log(layer.divergence / layer.chance) for layer in record.layers]
        mean = sum(size * log for size, log in zip(SIZES, logs, strict=True)) / sum(SIZES)
        eta = [(before + log - mean) / 2 for before, log in zip(eta, logs, strict=True)]
        assert [layer.momentum for layer in record.layers] == pytest.approx(eta, abs=1e-12)


def test_trust_follows_the_norms_of_every_step() -> None:
    trial = config("trust")
    trial = replace(trial, train=replace(trial.train, weight_decay=0.05))  # not the teacher's
    made = TrialRun(trial, OwnInputs(), teacher=teacher())
    groups = [group["params"] for group in made.distiller.optimizer.param_groups[:3]]
    made.begin_epoch()
    weights, gradients = [], []
    while True:
        before = [norm(parameters) for parameters in groups]
        if not made.step():
            break
        weights.append(before)
        gradients.append([norm([each.grad for each in parameters]) for parameters in groups])
    (w, g), decay = (torch.tensor(side).mean(0) for side in (weights, gradients)), made.config.train.weight_decay
    logs = (w / (g + decay * w)).log()
    sizes = torch.tensor(SIZES) / sum(SIZES)
    found = [layer.momentum for layer in made.end_epoch().layers]
    assert found == pytest.approx((logs - (sizes * logs).sum()).tolist(), abs=1e-6)
    made.close()


def norm(tensors: list[torch.Tensor]) -> float:
    return float(torch.cat([each.detach().double().flatten() for each in tensors]).norm())


def test_norms_are_gathered_for_those_who_ask_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("kdstudy.training.distiller.LayerNorms", asked.append)
    run("lag")
    assert not asked
    assert [name for name in POLICIES if POLICIES.load(name).needs_norms] == ["trust"]


@pytest.mark.parametrize("transfer", ["none", "kd", "dkd", "vid", "fitnet", "rkd"])
def test_progress_is_refused_where_a_layer_has_no_loss_of_its_own(transfer: str) -> None:
    trial = trial_config(transfer, "{progress: {interval: 1}}")
    (fault,) = inspect_parts([trial]).faults
    path, told = fault.told()
    assert path == "arms.policies.progress"
    assert re.match(f"follows the transfer's loss of each crucial layer, and '{transfer}' has none of layer1", told)
    with pytest.raises(StudyError, match=r"^progress: follows"):
        run_trial(trial, lambda *_: None, teacher=teacher())


@pytest.mark.parametrize("transfer", ["attention", "{hessian: {kd_weight: 1.0}}", "{fitnet: {at: all}}", "reviewkd"])
def test_progress_takes_every_transfer_with_a_loss_of_each_layer(transfer: str) -> None:
    assert not inspect_parts([trial_config(transfer, "{progress: {interval: 1}}")]).faults


def test_norms_are_gathered_in_the_epoch_that_is_followed_and_in_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    made = TrialRun(config("trust", interval=2), OwnInputs(), teacher=teacher())
    gathered: list[int] = []

    def gather(groups: list[dict[str, object]]) -> LayerNorms:
        gathered.append(len(made.history) + 1)
        return LayerNorms(groups)

    monkeypatch.setattr("kdstudy.training.distiller.LayerNorms", gather)
    while not made.done:
        made.begin_epoch()
        while made.step():
            pass
        made.end_epoch()
    made.close()
    assert gathered == [2], "after 4 nothing is set any more"
    assert [record.epoch for record in made.history if record.layers] == [2]
    assert all(layer.momentum != 0.0 for layer in made.history[1].layers)
