"""A trial repeats itself bit for bit, whatever interrupts it, and leaves the teacher alone."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from kdstudy.data import num_batches
from kdstudy.errors import ClusterError, ModelError, StudyError
from kdstudy.plugins import POLICIES, TRANSFERS
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.study import TrialConfig
from kdstudy.training import weights_sha256
from kdstudy.transfer import EmptyMapError, NoTransfer, Observation
from kdstudy.trial.build import dataset_of
from kdstudy.trial.dry_run import preflight
from kdstudy.trial.inputs import OwnInputs
from kdstudy.trial.run import TrialRun, run_trial
from tests.configs import fresh_teacher, trial_config

LAYERWISE = "{layerwise: {interval: 1, gain: 0.4, momentum: 0.5, probe_size: 64}}"
WALK = "{walk: {interval: 1, gain: 0.4, momentum: 0.5, probe_size: 64}}"
REPLAY = "{replay: {multipliers: [[0.5, 1.0, 1.5]], probe_size: 64}}"


# As in tests/layerwise/test_normalise.py, but for images of one channel: 144 weights of the first convolution, not 432.
SIZES = (5136 - 288, 14528, 57728)


def mean_rate(multipliers: list[float]) -> float:
    """Return the mean multiplier over the student's parameters, those of the head left out."""
    return sum(size * alpha for size, alpha in zip(SIZES, multipliers, strict=True)) / sum(SIZES)


class InterruptedTrialError(Exception):
    pass


def run(config, folder: Path | None = None, *, stop_after: int | None = None, with_test: bool = False):
    records: list[EpochRecord] = []

    def report(record: EpochRecord, result: TrialResult | None) -> None:
        records.append(record)
        if record.epoch == stop_after:
            raise InterruptedTrialError

    try:
        return run_trial(config, report, teacher=fresh_teacher(), folder=folder, with_test=with_test), records
    except InterruptedTrialError:
        return None, records


@functools.cache
def uninterrupted(transfer: str) -> tuple[TrialResult, list[EpochRecord]]:
    """Four epochs in one go, with checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        return run(trial_config(transfer, LAYERWISE, epochs=4), Path(folder), with_test=True)


def numbers(records: list[EpochRecord]) -> list[dict]:
    return [record.numbers() for record in records]


def each_with_each(transfers: list[str], policies: list[str]) -> list[Any]:
    """Return all pairs, those slow that have neither the first policy or the second nor the first transfer."""
    slow = {(transfer, policy) for transfer in transfers[1:] for policy in policies[2:]}
    pairs = itertools.product(transfers, policies)
    return [pytest.param(*pair, marks=[pytest.mark.slow] if pair in slow else []) for pair in pairs]


@pytest.mark.parametrize(
    ("transfer", "policy"),
    each_with_each(list(TRANSFERS), ["constant", LAYERWISE, "decay", WALK, REPLAY, "placebo"]),
)
def test_every_transfer_runs_under_every_policy(transfer: str, policy: str) -> None:
    result, records = run(trial_config(transfer, policy, epochs=2))
    assert result is not None
    assert result.state == "completed"
    assert [record.epoch for record in records] == [1, 2]
    assert all(math.isfinite(value) for record in records for value in record.terms.values())
    assert bool(records[0].layers) == (policy not in ("constant", "decay", "placebo"))
    assert not records[1].layers, "no update after the last epoch"


def test_the_same_configuration_gives_the_same_bits_and_another_seed_does_not() -> None:
    config = trial_config("jacobian", LAYERWISE)
    (first, first_records), (second, second_records) = run(config), run(config)
    assert first.weights_sha256 == second.weights_sha256
    assert numbers(first_records) == numbers(second_records)
    other, _ = run(trial_config("jacobian", LAYERWISE, data_seed=13))
    assert other.weights_sha256 != first.weights_sha256


@pytest.mark.parametrize("transfer", ["attention", "hessian", "kd"])
def test_gain_zero_equals_the_constant_policy_bit_for_bit(transfer: str) -> None:
    constant, constant_records = run(trial_config(transfer, "constant"))
    still, still_records = run(trial_config(transfer, "{layerwise: {interval: 1, gain: 0.0, probe_size: 64}}"))
    moved, _ = run(trial_config(transfer, LAYERWISE))
    assert still.weights_sha256 == constant.weights_sha256
    assert [record.val for record in still_records] == [record.val for record in constant_records]
    assert {layer.multiplier for record in still_records for layer in record.layers} == {1.0}
    assert moved.weights_sha256 != constant.weights_sha256


@pytest.mark.parametrize(
    "policy",
    [
        "{walk: {interval: 1, gain: 0.0, redraw: never, probe_size: 64}}",
        "{placebo: {size: 0.0}}",
        "{decay: {rate: 1.0}}",
        "{replay: {multipliers: [[2.0, 2.0, 2.0]], normalise: parameters, probe_size: 64}}",
    ],
)
def test_a_control_that_moves_nothing_equals_the_constant_policy_bit_for_bit(policy: str) -> None:
    constant, _ = run(trial_config("attention", "constant", epochs=2))
    still, _ = run(trial_config("attention", policy, epochs=2))
    assert still is not None and constant is not None
    assert still.weights_sha256 == constant.weights_sha256


def test_a_placebo_takes_another_path_with_rates_of_mean_one() -> None:
    constant, _ = run(trial_config("attention", "constant", epochs=2))
    config = trial_config("attention", "placebo", epochs=2)
    placebo, _ = run(config)
    assert placebo is not None and constant is not None
    assert placebo.weights_sha256 != constant.weights_sha256
    with contextlib.closing(OwnInputs()) as inputs:
        policy = TrialRun(config, inputs, teacher=fresh_teacher()).policy
    assert mean_rate(list(policy.multipliers.values())) == pytest.approx(1.0, abs=1e-9)
    assert all(0.9 < alpha < 1.1 for alpha in policy.multipliers.values())


def test_the_mean_parameter_of_a_trial_learns_at_the_base_rate() -> None:
    steep = LAYERWISE.replace("gain: 0.4", "gain: 4.0")
    _, records = run(trial_config("attention", steep, epochs=4))
    rows = [[layer.multiplier for layer in record.layers] for record in records[:3]]
    assert all(mean_rate(row) == pytest.approx(1.0, abs=1e-9) for row in rows)
    assert max(abs(sum(row) / 3 - 1) for row in rows) > 0.05, "the mean layer does not"


def test_a_trial_that_an_earlier_version_recorded_has_its_rates() -> None:
    config = trial_config("attention", LAYERWISE, epochs=3)
    recorded = {**config.to_json(), "policy": {"layerwise": {**config.policy.options, "normalise": True}}}
    _, records = run(TrialConfig.from_json(recorded))
    (first, second) = [[layer.multiplier for layer in record.layers] for record in records[:2]]
    eta = [layer.momentum for layer in records[0].layers]
    raw = [math.exp(0.4 * each) for each in eta]
    assert first == [alpha / (sum(raw) / 3) for alpha in raw], "bit for bit"
    moved = [alpha * math.exp(0.4 * layer.momentum) for alpha, layer in zip(first, records[1].layers, strict=True)]
    assert second == [min(max(alpha / (sum(moved) / 3), 0.25), 4.0) for alpha in moved]
    _, today = run(config)
    assert [layer.multiplier for layer in today[0].layers] != first


@pytest.mark.parametrize("transfer", ["{jacobian: {normalise: teacher}}", "attention", "{crd: {negatives: 64}}", "vid"])
@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_resumed_trial_equals_an_uninterrupted_one(tmp_path: Path, transfer: str, stop_after: int) -> None:
    config = trial_config(transfer, LAYERWISE, epochs=4)
    whole, whole_records = uninterrupted(transfer)
    run(config, tmp_path, stop_after=stop_after)
    resumed, resumed_records = run(config, tmp_path, with_test=True)
    assert resumed.weights_sha256 == whole.weights_sha256
    assert resumed.test == whole.test
    assert numbers(resumed_records) == numbers(whole_records), "reported from epoch 1 on, without gap or duplicate"


def test_a_trial_that_an_earlier_version_recorded_goes_on_as_it_began(tmp_path: Path) -> None:
    today = trial_config("jacobian", LAYERWISE)
    written = today.to_json()
    written["transfer"]["jacobian"]["normalise"] = "running"
    config = TrialConfig.from_json(written)
    assert TrialConfig.validated(written) == config
    whole, whole_records = run(config)
    run(config, tmp_path, stop_after=2)
    resumed, records = run(config, tmp_path)
    assert resumed.weights_sha256 == whole.weights_sha256 != run(today)[0].weights_sha256
    assert numbers(records) == numbers(whole_records)


@pytest.mark.parametrize("policy", [WALK, REPLAY.replace("]]", "], [1.0, 1.5, 0.5], [1.5, 0.5, 1.0]]")])
def test_a_control_is_resumed_where_it_stood(tmp_path: Path, policy: str) -> None:
    config = trial_config("attention", policy, epochs=4)
    whole, expected = run(config)
    run(config, tmp_path, stop_after=2)
    resumed, records = run(config, tmp_path)
    assert numbers(records) == numbers(expected)
    assert resumed is not None and whole is not None
    assert resumed.weights_sha256 == whole.weights_sha256


def test_a_replayed_layerwise_trial_of_the_same_seed_is_that_trial_and_moves_other_seeds_the_same_way() -> None:
    config = trial_config("attention", LAYERWISE, epochs=3)
    original, records = run(config)
    rows = [[layer.multiplier for layer in record.layers] for record in records[:2]]
    policy = f"{{replay: {{multipliers: {rows}, probe_size: 64}}}}"
    again, replayed = run(trial_config("attention", policy, epochs=3))
    assert original is not None and again is not None
    assert again.weights_sha256 == original.weights_sha256
    assert [[each.divergence for each in record.layers] for record in replayed] == [
        [each.divergence for each in record.layers] for record in records
    ]
    _, other = run(trial_config("attention", policy, epochs=3, data_seed=1, init_seed=2))
    assert [[layer.multiplier for layer in record.layers] for record in other[:2]] == rows


def test_each_seed_walks_another_way_and_the_same_seed_the_same() -> None:
    def walked(init_seed: int) -> list[list[float]]:
        _, records = run(trial_config("attention", WALK, epochs=4, init_seed=init_seed))
        return [[layer.multiplier for layer in record.layers] for record in records[:3]]

    assert walked(1) == walked(1)
    assert walked(1) != walked(2)


def test_a_replay_of_other_layers_is_refused() -> None:
    with pytest.raises(StudyError, match=r"replay\.multipliers: update 1 must list one factor for each of the 3"):
        preflight(trial_config("attention", "{replay: {multipliers: [[1.0, 2.0]]}}", epochs=2), fresh_teacher())


def test_a_trial_that_ended_unheard_reports_its_end_again(tmp_path: Path) -> None:
    config = trial_config(epochs=2)
    run(config, tmp_path, stop_after=2)
    result, records = run(config, tmp_path)
    assert result.state == "completed"
    assert [record.epoch for record in records] == [1, 2]


def test_the_teacher_is_left_bitwise_unchanged_without_hooks_and_in_eval_mode() -> None:
    teacher = fresh_teacher()
    before = weights_sha256(teacher)
    run_trial(trial_config("hessian", LAYERWISE, epochs=2), lambda _r, _s: None, teacher=teacher)
    assert weights_sha256(teacher) == before
    assert not any(module.training or module._forward_hooks for module in teacher.modules())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in teacher.parameters())


def test_threads_and_training_switches_are_restored() -> None:
    threads = torch.get_num_threads()
    run(trial_config(epochs=1))
    assert torch.get_num_threads() == threads


def test_a_diverging_trial_is_a_result() -> None:
    result, records = run(trial_config("none", base_lr=1e30, epochs=3))
    assert result.state == "diverged"
    assert result.val is None
    assert result.test is None
    assert result.weights_sha256 is None
    assert records[-1].val is None
    assert result.epochs == len(records) - 1
    assert result.error == 'the term "cross_entropy" of the loss was nan in epoch 1, step 2'


def test_of_a_student_that_has_diverged_nothing_is_measured() -> None:
    result, records = run(trial_config("attention", LAYERWISE, base_lr=1e30, epochs=3))
    assert result is not None and result.error is not None
    assert (result.state, len(records)) == ("diverged", 1)
    assert result.error.endswith("of the loss were nan in epoch 1, step 2"), "not what a probe would find then"
    assert not records[0].layers


class Listens(NoTransfer):
    """Notes what it is given to draw from, and what torch's own stream gives there."""

    needs_directions = True
    heard: ClassVar[list[tuple[float, float]]] = []

    def draw(self, images, generator):
        self.heard.append((float(torch.rand((), generator=generator)), float(torch.rand(()))))


def streams(**seeds: int) -> list[tuple[float, float]]:
    """The first numbers drawn in each of two epochs of a trial with these seeds: of directions, and of torch's own."""
    Listens.heard.clear()
    run(trial_config("'tests.trial.test_run:Listens'", epochs=2, **seeds))
    half = len(Listens.heard) // 2
    assert all(len(set(stream)) == 2 * half for stream in zip(*Listens.heard, strict=True)), "each step draws anew"
    return list(zip(Listens.heard[0], Listens.heard[half], strict=True))


def test_every_epoch_draws_anew_directions_by_the_data_seed_and_all_else_by_the_initial_one() -> None:
    directions, own = streams(data_seed=1, init_seed=2)
    other, same = streams(data_seed=3, init_seed=2)
    assert same == own and not set(other) & set(directions)
    same, other = streams(data_seed=1, init_seed=3)
    assert same == directions, "common to the trials of a search"
    assert not set(other) & set(own)


class Counts(NoTransfer):
    """Its term is the number of the step, from 1, over all epochs."""

    uses_teacher = True
    modes: ClassVar[list[bool]] = []

    def terms(self, student, teacher, batch):
        self.modes.append(self.training)
        return {"count": student.logits.sum() * 0.0 + len(self.modes)}


def test_an_epoch_s_terms_are_means_over_its_steps_with_the_method_in_training_mode() -> None:
    Counts.modes.clear()
    _, (first, second) = run(trial_config("'tests.trial.test_run:Counts'", LAYERWISE, epochs=2))
    steps = len(Counts.modes) // 2
    assert steps > 1 and all(Counts.modes)
    assert first.terms["count"] == pytest.approx((1 + steps) / 2)
    assert second.terms["count"] == pytest.approx(steps + (1 + steps) / 2)


def test_an_epoch_begins_in_training_mode_whatever_was_before() -> None:
    with contextlib.closing(TrialRun(trial_config(), OwnInputs(), teacher=fresh_teacher())) as made:
        made.student.module.eval()
        made.begin_epoch()
        assert all(module.training for module in made.student.module.modules())


class Explodes(NoTransfer):
    """Its loss is not finite in batch ``at``, counted over all epochs."""

    batches: ClassVar[int] = 0
    uses_teacher = True

    def __init__(self, context, *, at: int) -> None:
        super().__init__(context)
        self.at = at
        type(self).batches = 0

    def terms(self, student, teacher, batch):
        type(self).batches += 1
        return {"boom": student.logits.sum() * (math.nan if self.batches == self.at else 0.0)}


@pytest.mark.parametrize(("epoch", "batch"), [(1, 1), (2, 1), (2, 4)])
def test_a_diverged_trial_costs_at_most_one_epoch(epoch: int, batch: int) -> None:
    config = trial_config(epochs=4)
    steps = num_batches(len(dataset_of(config, with_test=False).train), config.train.batch_size)
    assert steps > 4
    at = (epoch - 1) * steps + batch
    result, records = run(trial_config(f"{{'tests.trial.test_run:Explodes': {{at: {at}}}}}", epochs=4))
    assert (result.state, result.epochs, len(records)) == ("diverged", epoch - 1, epoch)
    assert Explodes.batches == epoch * steps, "what remains of the epoch: the loss is looked at once an epoch"
    assert result.error == f'the term "boom" of the loss was nan in epoch {epoch}, step {batch}'


def test_why_it_diverged_outlives_the_process_that_was_lost_before_it_could_say(tmp_path: Path) -> None:
    config = trial_config("none", base_lr=1e30, epochs=3)
    first = TrialRun(config, OwnInputs(), folder=tmp_path)
    with contextlib.closing(first):
        first.begin_epoch()
        while first.step():
            pass
        first.end_epoch()
    result = run_trial(config, lambda _record, _result: None, folder=tmp_path)
    assert (result.state, result.error) == (
        "diverged", 'the term "cross_entropy" of the loss was nan in epoch 1, step 2',
    )  # fmt: skip


class Deadens(NoTransfer):
    """All its student's maps are zero from batch 2 on."""

    uses_teacher = True
    batches: ClassVar[int] = 0

    def __init__(self, context) -> None:
        super().__init__(context)
        type(self).batches = 0

    def terms(self, student, teacher, batch):
        type(self).batches += 1
        if self.batches == 2:
            raise EmptyMapError("deadens", "student", "layer2")
        return {}


def test_a_student_whose_layer_died_says_which_and_when() -> None:
    result, _ = run(trial_config("'tests.trial.test_run:Deadens'", epochs=2))
    assert result.state == "diverged"
    assert result.error == "the student's map at layer 'layer2' was zero over a whole batch in epoch 1, step 2"


class Notices(NoTransfer):
    """Learns only when the epoch is over that a map has vanished in its last step."""

    uses_teacher = True

    def check(self) -> None:
        raise EmptyMapError("notices", "student", "layer3")


def test_what_a_step_did_not_wait_for_is_asked_after_the_epoch() -> None:
    result, records = run(trial_config("'tests.trial.test_run:Notices'", epochs=2))
    assert (result.state, len(records)) == ("diverged", 1)
    assert result.error is not None
    assert result.error.startswith("the student's map at layer 'layer3' was zero over a whole batch in epoch 1")


def test_the_optimizer_is_the_trial_s_in_every_group() -> None:
    config = trial_config("vid")
    train = replace(config.train, momentum=0.7, weight_decay=0.03, nesterov=True)
    with contextlib.closing(TrialRun(replace(config, train=train), OwnInputs(), teacher=fresh_teacher())) as made:
        groups = made.distiller.optimizer.param_groups
    assert [group["layer"] for group in groups] == ["layer1", "layer2", "layer3", "head", "transfer"]
    for name in ("momentum", "weight_decay", "nesterov"):
        assert {group[name] for group in groups} == {getattr(train, name)}, name


def test_test_is_scored_only_where_asked() -> None:
    searched, _ = run(trial_config(epochs=1))
    confirmed, _ = run(trial_config(epochs=1), with_test=True)
    assert searched.test is None
    assert 0 <= confirmed.test <= 1
    assert searched.weights_sha256 == confirmed.weights_sha256


def test_rates_are_base_times_schedule_times_multiplier() -> None:
    _, records = run(trial_config("attention", LAYERWISE, epochs=3))
    multipliers = {layer.layer: layer.multiplier for layer in records[0].layers}
    assert set(multipliers.values()) != {1.0}
    for layer, rate in records[1].rates.items():
        assert rate == pytest.approx(records[1].rate * multipliers.get(layer, 1.0), rel=1e-12)
    assert records[1].rates["head"] == records[1].rate


def test_asking_for_a_gpu_that_is_not_there_is_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    config = trial_config(epochs=1)
    values = config.to_json()
    values["resources"]["gpus"] = 1
    with pytest.raises(ClusterError, match=r"resources\.gpus: 1(\.0)? asked for") as error:
        run_trial(type(config).from_json(values), lambda _r, _s: None, teacher=fresh_teacher())
    assert "\n" not in str(error.value)


def test_preflight_trains_nothing_and_rehearses_a_batch() -> None:
    teacher = fresh_teacher()
    preflight(trial_config("jacobian", LAYERWISE), teacher)
    preflight(trial_config("jacobian", LAYERWISE), teacher, batch=True)
    with pytest.raises(ModelError):
        preflight(trial_config(), nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))


class LabelTransfer(NoTransfer):
    """Registered from outside the package: pulls the logits' mean to a constant.

    Source: this test.
    """

    uses_teacher: ClassVar[bool] = True

    def __init__(self, context, *, weight: float = 1.0) -> None:
        super().__init__(context)
        self.weight = weight

    def terms(self, student: Observation, teacher: Observation, batch) -> dict:
        return {"label": self.weight * (student.logits.mean() - teacher.logits.mean()).square()}


def test_a_transfer_from_outside_the_package_needs_one_class_and_one_line() -> None:
    result, records = run(trial_config("{'tests.trial.test_run:LabelTransfer': {weight: 0.5}}", epochs=1))
    assert result.state == "completed"
    assert set(records[0].terms) == {"cross_entropy", "label"}
    assert "layerwise" in POLICIES
