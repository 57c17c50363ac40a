"""Students of a pack that run at once learn what they learn in turn; those that cannot run in turn, and say why."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdstudy.data import Batch, Dataset
from kdstudy.plugins import allow_plugins
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.study import NumericsConfig, PluginSpec, StudentConfig, TrialConfig
from kdstudy.trial.inputs import SharedInputs
from kdstudy.trial.member import Member
from kdstudy.trial.pack import _train, run_pack
from kdstudy.trial.run import TrialRun
from kdstudy.trial.stack import Stack
from tests.configs import fresh_teacher, trial_config
from tests.trial.test_recipe import WHOLE

LAYERWISE = "{layerwise: {interval: 1, gain: 0.4, probe_size: 16}}"
VMAP = NumericsConfig(packs="vmap")
teacher = cache(fresh_teacher)
allow_plugins("tests")
Told = dict[int, tuple[list[EpochRecord], TrialResult]]


def small(transfer: str, policy: str = "constant", **options: Any) -> TrialConfig:
    config = trial_config(transfer, policy, **{"epochs": 2, **options})
    config = replace(config, data=replace(config.data, options={"count": 64}), numerics=VMAP)
    return replace(config, train=replace(config.train, batch_size=16))


def several(*transfers: str, policy: str = "constant") -> dict[int, TrialConfig]:
    """Trials of one arm: other weights of the loss, rates and initial weights."""
    return {k: small(each, policy, init_seed=k, base_lr=0.02 * (k + 1)) for k, each in enumerate(transfers)}


def packed(configs: Mapping[int, TrialConfig]) -> Told:
    told: Told = {}
    records: dict[int, list[EpochRecord]] = {number: [] for number in configs}

    def report(number: int, record: EpochRecord | None, result: TrialResult | None) -> bool:
        if record is not None:
            records[number].append(record)
        if result is not None:
            told[number] = (records[number], result)
        return True

    run_pack(configs, report, teacher=teacher())
    return told


class InFloat64(SharedInputs):
    """Batches whose images are float64."""

    def batches(self, config: TrialConfig, data: Dataset, epoch: int) -> Iterator[Batch]:
        for batch in super().batches(config, data, epoch):
            yield batch._replace(images=batch.images.double())


def float64(configs: Mapping[int, TrialConfig], *, at_once: bool) -> list[dict[str, Tensor]]:
    """Train a pack in float64; return all that each student and its method end with."""
    inputs, found = InFloat64(), []

    def build(config: TrialConfig, **options: Any) -> TrialRun:
        run = TrialRun(config, inputs, teacher=copy.deepcopy(teacher()).double(), **options)
        run.student.module.double()
        run.distiller.transfer.double()
        found.append({"student": run.student.module, "transfer": run.distiller.transfer, "run": run})
        return run

    def member(number: int, config: TrialConfig) -> Member:
        return Member(number, lambda **options: build(config, **options), lambda *_: True, alone=False)

    _train([member(*each) for each in configs.items()], lambda: None, at_once=at_once)
    assert {each["run"].packed for each in found} == {"vmap" if at_once else None}
    return [{**each["student"].state_dict(), **each["transfer"].state_dict(prefix="own.")} for each in found]


@pytest.mark.parametrize(
    ("transfers", "policy"),
    [
        (("kd", "{kd: {weight: 0.3}}", "{kd: {temperature: 2.0}}"), "constant"),
        (("attention", "{attention: {weight: 10}}", "{attention: {kd_weight: 0.5}}"), "decay"),
        (("fitnet", "{fitnet: {weight: 3}}"), "constant"),
        *(
            pytest.param((name, name), "constant", marks=pytest.mark.slow)
            for name in ("none", "dkd", "crd", "reviewkd")
        ),
        *(pytest.param((name, name), "constant", marks=pytest.mark.slow) for name in ("sp", "rkd", "pkt", "vid")),
        pytest.param(("attention", "attention"), LAYERWISE, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_at_once_is_in_turn_but_for_rounding(transfers: tuple[str, ...], policy: str) -> None:
    configs = several(*transfers, policy=policy)
    for one, other in zip(float64(configs, at_once=True), float64(configs, at_once=False), strict=True):
        assert any(name.endswith("running_var") for name in one), "the statistics of batch norms among them"
        for name, tensor in one.items():
            assert torch.allclose(tensor.double(), other[name].double(), rtol=1e-5, atol=1e-9), name


def test_at_once_is_in_turn_under_adamw_and_all_that_goes_with_it() -> None:
    configs = several("attention", "{attention: {weight: 10}}", policy="decay")
    configs = {
        k: replace(each, train=replace(each.train, base_lr=0.001 * (k + 1), **WHOLE)) for k, each in configs.items()
    }
    for one, other in zip(float64(configs, at_once=True), float64(configs, at_once=False), strict=True):
        for name, tensor in one.items():
            assert torch.allclose(tensor.double(), other[name].double(), rtol=1e-5, atol=1e-9), name


def test_a_pack_at_once_ends_as_trials_do_and_says_how_it_ran() -> None:
    configs = several("attention", "attention", "{attention: {weight: 3}}")
    configs[2] = replace(configs[2], train=replace(configs[2].train, epochs=3))  # the last epoch alone
    at_once = packed(configs)
    in_turn = packed({k: replace(config, numerics=NumericsConfig()) for k, config in configs.items()})
    for number, (records, result) in at_once.items():
        others, other = in_turn[number]
        assert result.numerics == {**other.numerics, "pack": "vmap"}
        assert [record.epoch for record in records] == [record.epoch for record in others]
        assert [r.loss for r in records] == pytest.approx([r.loss for r in others], rel=1e-3)
        assert 0 < result.seconds < 60


def at(number: int, step: int) -> dict[int, TrialConfig]:
    raising = "tests.trial.test_pack:Raises"
    steps = {k: step if k == number else 0 for k in range(3)}
    return several(*(f"{{'{raising}': {{at: {each}, kind: ours}}}}" for each in steps.values()))


def test_one_that_raises_or_diverges_leaves_the_others_alone() -> None:
    for configs in (at(1, 5), {**several(*["attention"] * 3), 1: small("attention", init_seed=1, base_lr=1e30)}):
        found = packed(configs)
        assert [found[number][1].state for number in (0, 2)] == ["completed"] * 2
        assert found[1][1].state == ("failed" if configs[1].train.base_lr < 1 else "diverged")
        others = packed({number: configs[number] for number in (0, 2)})
        for number in (0, 2):
            losses = [[record.loss for record in told[number][0]] for told in (found, others)]
            assert losses[0] == pytest.approx(losses[1], rel=1e-3)


class Renews(nn.Module):
    """A network that has another tensor for a buffer after each pass."""

    times: Tensor

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(2))
        self.top = nn.Linear(8, num_classes)
        self.register_buffer("times", torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        self.times = self.times * 1.5
        return self.scores(images) * self.times

    def scores(self, images: Tensor) -> Tensor:
        scores: Tensor = self.top(self.inner(images).mean(2))
        return scores


class Draws(Renews):
    """A network that draws from Python's generator."""

    def forward(self, images: Tensor) -> Tensor:
        return self.scores(images) * random.uniform(0.9, 1.1)


class Looks(Renews):
    """A network that looks at what it computes."""

    def forward(self, images: Tensor) -> Tensor:
        made = self.scores(images)
        return made if made.abs().sum() > 0 else -made


WRN = StudentConfig(PluginSpec("wrn_16_1", {"dropout": 0.4}))


@pytest.mark.parametrize(
    ("transfer", "student", "why"),
    [
        ("jacobian", None, "the transfer method needs more than the students' outputs"),
        ("kd", WRN, "random"),
        ("kd", "Renews", "the student computes something else where several run at once"),
        ("kd", "Draws", "the student draws random numbers"),
        ("kd", "Looks", "RuntimeError"),
    ],
)
def test_what_cannot_run_at_once_runs_in_turn_bit_for_bit(transfer: str, student: Any, why: str) -> None:
    configs = several(transfer, transfer)
    if student is not None:
        own = StudentConfig(PluginSpec(f"{__name__}:{student}")) if isinstance(student, str) else student
        configs = {k: replace(config, student=own) for k, config in configs.items()}
    found = packed(configs)
    in_turn = packed({k: replace(config, numerics=NumericsConfig()) for k, config in configs.items()})
    for number, (_, result) in found.items():
        assert result.state == "completed"
        assert result.numerics["pack"].startswith("in turn: ") and why in result.numerics["pack"]
        assert result.weights_sha256 == in_turn[number][1].weights_sha256


def test_a_method_that_writes_into_the_images_is_refused_in_one_line() -> None:
    writes = "tests.trial.test_pack:Writes"
    configs = several(*(f"{{'{writes}': {{weight: {k + 1}}}}}" for k in range(2)))
    errors: dict[int, str | None] = {}

    def report(number: int, _: EpochRecord | None, result: TrialResult | None) -> bool:
        assert result is not None
        errors[number] = result.error
        return True

    run_pack(configs, report, teacher=teacher())
    told = "numerics.packs: the method writes into images, which the students share; write turns"
    assert errors == {0: told, 1: told}


def test_gradients_lie_in_memory_as_their_weights_do() -> None:
    runs = [TrialRun(config, SharedInputs(), teacher=teacher()) for config in several("kd", "kd").values()]
    students = [run.student for run in runs]
    for student in students:
        student.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    stack = Stack(students)
    outputs = stack.run(torch.rand(4, *runs[0].data.image_shape))
    stack.backward([output.logits.sum() for output in outputs])
    for student in students:
        for parameter in student.module.parameters():
            assert parameter.grad is not None and parameter.grad.stride() == parameter.stride()
    for run in runs:
        run.close()
