"""Trials of a pack are, each for itself, bit for bit what they are alone; what they share is computed once."""

from __future__ import annotations

import gc
import json
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import Tensor, nn

from kdstudy.errors import MapError
from kdstudy.plugins import TRANSFERS
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.storage import DiskFolder
from kdstudy.study import PluginSpec, StudentConfig, TrialConfig
from kdstudy.transfer import NoTransfer, Observation
from kdstudy.transfer.kd import SoftTargetTransfer
from kdstudy.trial.pack import run_pack
from kdstudy.trial.run import run_trial
from tests.configs import fresh_teacher, trial_config

LAYERWISE = "{layerwise: {interval: 1, gain: 0.4, momentum: 0.5, probe_size: 16}}"
OTHERS = (
    "decay",
    "{walk: {interval: 1, gain: 0.4, momentum: 0.5, probe_size: 16}}",
    "{replay: {multipliers: [[0.5, 1.0, 1.5]], probe_size: 16}}",
    "placebo",
)
STEPS = 3
teacher = cache(fresh_teacher)
Told = tuple[list[dict[str, Any]], TrialResult | None]


def small(transfer: str, policy: str = "constant", **options: Any) -> TrialConfig:
    """A trial of ``STEPS`` steps an epoch."""
    config = trial_config(transfer, policy, **{"epochs": 2, **options})
    config = replace(config, data=replace(config.data, options={"count": 64}))
    return replace(config, train=replace(config.train, batch_size=16))


def several(transfer: str, count: int = 3, **options: Any) -> dict[int, TrialConfig]:
    """Trials that differ as a search makes them differ."""
    return {k: small(transfer, init_seed=k, base_lr=0.02 * (k + 1), **options) for k in range(count)}


def alone(config: TrialConfig, folder: Path | None = None) -> Told:
    records: list[dict[str, Any]] = []
    result = run_trial(config, lambda each, _: records.append(each.numbers()), teacher=teacher(), folder=folder)
    return records, replace(result, seconds=0)


def packed(
    configs: Mapping[int, TrialConfig],
    *,
    stay: Callable[[int, int], bool] = lambda _number, _epoch: True,
    **options: Any,
) -> dict[int, Told]:
    records: dict[int, list[dict[str, Any]]] = {number: [] for number in configs}
    results: dict[int, TrialResult] = {}

    def report(number: int, record: EpochRecord | None, result: TrialResult | None) -> bool:
        assert number not in results, "it has ended"
        if record is not None:
            records[number].append(record.numbers())
        if result is not None:
            results[number] = replace(result, seconds=0)
        return record is None or stay(number, record.epoch)

    run_pack(configs, report, teacher=teacher(), **options)
    return {number: (records[number], results.get(number)) for number in configs}


@pytest.mark.parametrize(("with_test", "phase"), [(False, "search"), (True, "confirm")])
def test_a_student_says_which_trial_of_which_study_it_is_from(with_test: bool, phase: str, tmp_path: Path) -> None:
    config = small("none", epochs=1)
    packed({7: config}, folder=DiskFolder(tmp_path), study_id="digits-01234567", with_test=with_test)
    described = json.loads((tmp_path / "7" / "student" / "student.json").read_text())
    provenance = described["provenance"]
    assert (provenance["study_id"], provenance["trial"], provenance["phase"]) == ("digits-01234567", 7, phase)
    assert (provenance["arm"], provenance["init_seed"]) == (config.arm, config.init_seed)
    assert described["classes"] == [], "the synthetic classes have no names"


@pytest.mark.parametrize("transfer", list(TRANSFERS))
def test_every_transfer_under_every_policy_is_what_it_is_alone(transfer: str) -> None:
    turn = list(TRANSFERS).index(transfer)
    policies = ("constant", LAYERWISE, OTHERS[turn % len(OTHERS)])
    configs = {
        k: small(transfer, policy, init_seed=20 + k, base_lr=0.02 * (k + 1), epochs=2 + (k == 0))
        for k, policy in enumerate(policies)
    }
    found = packed(configs)
    assert found == {number: alone(config) for number, config in configs.items()}
    assert len({result.weights_sha256 for _, result in found.values() if result}) == len(policies)


@pytest.mark.parametrize(
    "transfer",
    [
        "{attention: {p: 3.0}}",
        "{hessian: {form: hvp, fraction: 0.5}}",
        "{jacobian: {form: peak, wrt: parameters}}",
        "{jacobian: {normalise: teacher}}",
    ],
)
def test_options_that_touch_the_observation_may_differ(transfer: str) -> None:
    name = transfer.strip("{").partition(":")[0]
    configs = {0: small(name), 1: small(transfer), 2: small(f"{{{name}: {{kd_weight: 0.5}}}}")}
    assert packed(configs) == {number: alone(config) for number, config in configs.items()}


def test_each_student_has_its_own_dropout() -> None:
    student = StudentConfig(PluginSpec("wrn_16_1", {"dropout": 0.4}))
    configs = {number: replace(config, student=student) for number, config in several("kd").items()}
    assert packed(configs) == {number: alone(config) for number, config in configs.items()}


def passes(run: Callable[[nn.Module], object]) -> int:
    """How often a teacher looks at a batch; networks are built with single images."""
    count = 0

    def note(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal count
        images = inputs[0]
        count += len(images if isinstance(images, Tensor) else images.value) > 1

    watched = fresh_teacher()
    watched.register_forward_pre_hook(note)
    run(watched)
    return count


@pytest.mark.parametrize("transfer", ["kd", "attention", "jacobian", "hessian", "fitnet", "reviewkd", "crd"])
def test_a_pack_runs_the_teacher_as_often_as_one_trial(transfer: str) -> None:
    def pack(count: int) -> int:
        configs = several(transfer, count)
        return passes(lambda module: run_pack(configs, lambda *_: True, teacher=module))

    one = passes(lambda module: run_trial(small(transfer), lambda *_: None, teacher=module))
    assert (one, pack(1), pack(4)) == (2 * STEPS,) * 3


class Writes(SoftTargetTransfer):
    """Soft targets whose terms scale the teacher's logits and the images in place."""

    def terms(self, student: Observation, teacher: Observation, batch: Any) -> dict[str, Tensor]:
        teacher.logits.mul_(self.weight)
        batch.images.mul_(0.5)
        return super().terms(student, teacher, batch)


def test_what_one_writes_into_the_next_finds_as_it_was() -> None:
    configs = {k: small(f"{{'tests.trial.test_pack:Writes': {{weight: {k + 1}}}}}", init_seed=k) for k in range(3)}
    assert packed(configs) == {number: alone(config) for number, config in configs.items()}


def test_one_that_diverges_or_ends_early_or_is_let_go_leaves_the_others_alone() -> None:
    configs = {k: small("attention", init_seed=k, epochs=4, base_lr=1e30 if k == 1 else 0.05) for k in range(4)}
    configs[3] = small("attention", init_seed=3, epochs=3)
    found = packed(configs, stay=lambda number, epoch: (number, epoch) != (2, 2))
    for number in (0, 1, 3):
        assert found[number] == alone(configs[number])
    assert found[1][1] is not None and found[1][1].state == "diverged"
    assert found[2] == (alone(configs[2])[0][:2], None)


class Raises(NoTransfer):
    """Raises in batch ``at``."""

    uses_teacher: ClassVar[bool] = True
    alive: ClassVar[list[weakref.ref[nn.Module]]] = []

    def __init__(self, context: Any, *, at: int, kind: str) -> None:
        super().__init__(context)
        self.at, self.kind, self.batches = at, kind, 0
        self.alive.append(weakref.ref(context.student))

    def terms(self, student: Observation, teacher: Observation, batch: Any) -> dict[str, Tensor]:
        self.batches += 1
        if self.batches == self.at:
            raise {"ours": MapError("raises: no luck"), "theirs": ValueError("theirs")}.get(self.kind, MemoryError())
        return {"logits": (student.logits - teacher.logits).square().mean()}


def raising(at: Mapping[int, int], kind: str) -> dict[int, TrialConfig]:
    Raises.alive.clear()
    name = "'tests.trial.test_pack:Raises'"
    return {k: small(f"{{{name}: {{at: {at.get(k, 0)}, kind: {kind}}}}}", init_seed=k) for k in range(3)}


@pytest.mark.parametrize(("kind", "told"), [("ours", "raises: no luck"), ("theirs", "ValueError: theirs")])
def test_one_that_raises_has_failed_and_the_others_go_on(kind: str, told: str) -> None:
    configs = raising({1: STEPS + 2}, kind)
    held: list[int] = []

    def stay(number: int, epoch: int) -> bool:
        gc.collect()
        if (number, epoch) == (0, 2):
            held.extend(k for k, student in enumerate(Raises.alive) if student() is not None)
        return True

    found = packed(configs, stay=stay)
    assert {number: found[number] for number in (0, 2)} == {number: alone(configs[number]) for number in (0, 2)}
    records, failed = found[1]
    assert [record["epoch"] for record in records] == [1]
    assert failed is not None and (failed.state, failed.epochs) == ("failed", 1)
    assert failed.error is not None and failed.error.strip().endswith(told)
    assert ("Traceback" in failed.error) == (kind == "theirs")
    assert 1 not in held, "the memory of one that is gone is free"
    assert 0 in held


def test_what_nobody_is_to_blame_for_ends_the_pack() -> None:
    with pytest.raises(MemoryError):
        packed(raising({1: 2}, "nobody"))
    assert not any(module._forward_hooks for module in teacher().modules())


class TornError(BaseException):
    """A process that dies."""


def test_members_whose_checkpoints_are_an_epoch_apart_come_into_step(tmp_path: Path) -> None:
    configs = several("crd", epochs=4)

    def torn(number: int, epoch: int) -> bool:
        if epoch == 2 and number != 0:  # somebody has written epoch 2, somebody has not
            raise TornError
        return True

    with pytest.raises(TornError):
        packed(configs, stay=torn, folder=DiskFolder(tmp_path))
    saved = [len(list((tmp_path / str(k) / "checkpoints").glob("*"))) for k in range(3)]
    assert sorted(saved) in ([1, 1, 2], [1, 2, 2]), saved
    events: list[tuple[int, int]] = []
    rests: list[int] = []

    def stay(number: int, epoch: int) -> bool:
        events.append((number, epoch))
        return True

    found = packed(configs, stay=stay, folder=DiskFolder(tmp_path), at_safe_point=lambda: rests.append(len(events)))
    assert found == {number: alone(config) for number, config in configs.items()}
    assert len(events) == 3 * 4, "each epoch once, those before the end of the first process included"
    assert [sorted(dict(events[:at]).values()) for at in rests] == [[2, 2, 2], [3, 3, 3]], "never between"


def test_times_are_each_members_own() -> None:
    seconds: dict[int, float] = {}

    def report(number: int, record: EpochRecord | None, result: TrialResult | None) -> bool:
        if result is not None:
            seconds[number] = result.seconds
        return True

    began = time.perf_counter()
    run_pack(several("kd", 4), report, teacher=teacher())
    assert 0 < sum(seconds.values()) < time.perf_counter() - began
    assert max(seconds.values()) < sum(seconds.values()) / 2, "nobody pays for all"


@pytest.mark.parametrize("other", [small("kd", data_seed=3), small("attention"), trial_config("kd")])
def test_trials_that_see_other_things_are_no_pack(other: TrialConfig) -> None:
    with pytest.raises(AssertionError):
        run_pack({0: small("kd"), 1: other}, lambda *_: True, teacher=teacher())
