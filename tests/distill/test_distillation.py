"""A plain PyTorch loop with a `Distillation` is a trial, bit for bit; a loop that cannot be right is refused."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdstudy.distill import Distillation
from kdstudy.errors import KdstudyError
from kdstudy.results import EpochRecord
from kdstudy.study import PluginSpec
from kdstudy.training import weights_sha256
from kdstudy.trial import run_trial
from tests.configs import fresh_teacher, trial_config
from tests.distill.loops import Small, distillation_of, of_trial, optimizer_of, train

CONSTANT = "constant"
LAYERWISE = "{layerwise: {interval: 1, momentum: 0, gain: 2}}"


@pytest.mark.parametrize(
    ("transfer", "policy"),
    [
        ("kd", CONSTANT),
        ("kd", LAYERWISE),
        ("attention", CONSTANT),
        ("{attention: {weight: 30, kd_weight: 1}}", LAYERWISE),
        ("{jacobian: {weight: 1, fraction: 0.25}}", LAYERWISE),
        ("{jacobian: {weight: 1, fraction: 0.25}}", CONSTANT),
        ("attention", "{progress: {interval: 1}}"),  # follows the terms of the layers
        ("attention", "{trust: {interval: 1}}"),  # follows norms
        ("fitnet", CONSTANT),  # has weights of its own
        ("{crd: {negatives: 64, dim: 16}}", CONSTANT),  # remembers every image
        ("none", "{decay: {rate: 0.5}}"),
    ],
)
def test_a_plain_loop_equals_a_trial_bit_for_bit(transfer: str, policy: str) -> None:
    epochs = 3 if "progress" in policy else 2  # which compares an epoch with the first
    config = trial_config(transfer, policy, epochs=epochs, data_seed=12, init_seed=12)
    records: list[EpochRecord] = []
    result = run_trial(config, lambda record, _: records.append(record), teacher=fresh_teacher())
    with distillation_of(config) as distillation:
        done = train(distillation, optimizer_of(distillation, config), config, epochs)
        assert done == of_trial(records)
        assert weights_sha256(distillation.student) == result.weights_sha256
    moved = {group: rate for group, rate in done[-1][1].items() if rate != done[-1][1]["head"]}
    assert bool(moved) == (policy != CONSTANT)


def test_a_loop_with_adamw_and_smoothed_labels_equals_a_trial_bit_for_bit() -> None:
    config = trial_config("attention", LAYERWISE, epochs=2, base_lr=0.003, data_seed=12, init_seed=12)
    adamw = {"optimizer": PluginSpec("adamw"), "weight_decay": 0.05, "label_smoothing": 0.1}
    config = replace(config, train=replace(config.train, **adamw))
    records: list[EpochRecord] = []
    result = run_trial(config, lambda record, _: records.append(record), teacher=fresh_teacher())
    with distillation_of(config, label_smoothing=0.1) as distillation:
        optimizer = torch.optim.AdamW(distillation.param_groups(), weight_decay=0.05)
        assert train(distillation, optimizer, config, 2) == of_trial(records)
        assert weights_sha256(distillation.student) == result.weights_sha256


def test_a_loop_goes_on_from_its_state_bit_for_bit() -> None:
    config = trial_config("{jacobian: {weight: 1, fraction: 0.25, normalise: teacher}}", LAYERWISE, data_seed=12)
    with distillation_of(config) as distillation:
        optimizer = optimizer_of(distillation, config)
        train(distillation, optimizer, config, 1)
        file = io.BytesIO()
        parts = (distillation.student, optimizer, distillation)
        torch.save([part.state_dict() for part in parts], file)
        wanted = train(distillation, optimizer, config, 2)
        weights = weights_sha256(distillation.student)
    file.seek(0)
    with distillation_of(config) as distillation:
        optimizer = optimizer_of(distillation, config)
        parts = (distillation.student, optimizer, distillation)
        for part, state in zip(parts, torch.load(file, weights_only=True), strict=True):
            part.load_state_dict(state)
        assert distillation.epoch == 1
        assert train(distillation, optimizer, config, 2) == wanted
        assert weights_sha256(distillation.student) == weights


def small(**given: Any) -> Distillation:
    torch.manual_seed(0)
    student, teacher = Small(4), Small(6)
    return Distillation(student, teacher, **{"image_shape": (3, 8, 8), "epochs": 2, **given})


def batch() -> tuple[Tensor, Tensor]:
    return torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(16) % 5


def test_networks_that_kdstudy_does_not_know_are_taught_and_left_as_they_were() -> None:
    with small(policy={"layerwise": {"interval": 1, "gain": 3}}, probe=batch()[0]) as distillation:
        teacher, before = distillation.teacher, weights_sha256(distillation.teacher)
        assert [(pair.student, pair.teacher) for pair in distillation.layers] == [("stem", "stem"), ("deep", "deep")]
        assert [group["layer"] for group in distillation.param_groups()] == ["stem", "deep", "head"]
        optimizer = torch.optim.AdamW(distillation.param_groups(), lr=0.01)
        losses = []
        for _ in range(30):
            terms = distillation.terms(*batch())
            assert list(terms) == ["cross_entropy", "attention/stem", "attention/deep"]
            optimizer.zero_grad()
            sum(terms.values()).backward()  # type: ignore[union-attr]
            distillation.step(optimizer, 0.01)
            losses.append(terms["attention/deep"].item())
        assert losses[-1] < 0.5 * losses[0]
        records = distillation.end_epoch()
        assert {record.layer: record.multiplier for record in records} == distillation.multipliers
        assert distillation.multipliers["stem"] != distillation.multipliers["deep"]
        distillation.terms(*batch())["attention/stem"].backward()
        distillation.set_rates(optimizer, 0.1)
        rates = {group["layer"]: group["lr"] for group in optimizer.param_groups}
        assert rates == {**{name: 0.1 * by for name, by in distillation.multipliers.items()}, "head": 0.1}
        assert weights_sha256(teacher) == before
        assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
        student = distillation.student
    assert not any(module._forward_hooks for network in (student, teacher) for module in network.modules())


def test_a_teacher_inside_a_module_that_is_put_to_train_mode_stays_in_eval_mode() -> None:
    distillation = small()
    nn.ModuleList([distillation.student, distillation.teacher]).train()
    distillation.terms(*batch())
    assert not any(module.training for module in distillation.teacher.modules())


def test_groups_may_be_divided_and_others_are_left_alone() -> None:
    with small() as distillation:
        extra = nn.Parameter(torch.zeros(1))
        divided = [
            {**group, "params": [p], "weight_decay": 0.1 * (p.ndim > 1)}
            for group in distillation.param_groups()
            for p in group["params"]
        ]
        optimizer = torch.optim.SGD([*divided, {"params": [extra], "lr": 7.0}], lr=1.0)
        sum(distillation.terms(*batch()).values()).backward()  # type: ignore[union-attr]
        distillation.step(optimizer, 0.5)
        assert [group["lr"] for group in optimizer.param_groups] == [0.5] * 6 + [7.0]


def loop(distillation: Distillation) -> None:
    sum(distillation.terms(*batch()).values()).backward()  # type: ignore[union-attr]
    distillation.step(torch.optim.SGD(distillation.param_groups(), lr=0.1), 0.1)


class Other(nn.Module):
    """Gives something else than logits."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": images.flatten(1)}


def shared() -> Distillation:
    student = Small(4)
    return Distillation(student, student, image_shape=(3, 8, 8), epochs=1)


def in_eval_mode() -> None:
    distillation = small()
    distillation.student.eval()
    distillation.terms(*batch())


def with_another_optimizer() -> None:
    distillation = small()
    distillation.terms(*batch())
    distillation.step(torch.optim.SGD(distillation.student.parameters(), lr=0.1), 0.1)


def with_steps_that_are_no_gradients() -> None:
    distillation = small(policy={"trust": {"interval": 1}}, probe=batch()[0])
    distillation.terms(*batch())
    distillation.step(torch.optim.AdamW(distillation.param_groups()), 0.1)


def saved_in_an_epoch() -> None:
    distillation = small()
    loop(distillation)
    distillation.state_dict()


def trained_too_long() -> None:
    distillation = small(epochs=1)
    loop(distillation)
    distillation.end_epoch()
    loop(distillation)


def diverged() -> None:
    distillation = small()
    for _ in range(2):
        images, labels = batch()
        sum(distillation.terms(images * 1e30, labels).values()).backward()  # type: ignore[union-attr]
        distillation.step(torch.optim.SGD(distillation.param_groups(), lr=0.1), 1e30)
    distillation.end_epoch()


def of_another() -> None:
    small(transfer="kd", layers=[("deep", "deep")]).load_state_dict(small().state_dict())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: small(transfer="atention"), "transfer: no transfer is called 'atention'; did you mean 'attention'?"),
        (
            lambda: small(transfer={"attention": {"weight": -1}}),
            "transfer.attention.weight: must be greater than or equal to 0, got -1",
        ),
        (lambda: small(transfer={"attention": {"weight": {"log": [1, 9]}}}), "one training takes one value"),
        (lambda: small(policy="layerwise", probe=batch()[0]), "policy.layerwise.interval: no update would ever happen"),
        (lambda: small(policy={"layerwise": {"interval": 1}}), "policy 'layerwise' measures the layers on a fixed set"),
        (lambda: small(transfer="kd", policy={"progress": {"interval": 1}}, probe=batch()[0]), "'kd' has none of stem"),
        (lambda: small(transfer="crd"), "crd: remembers every training image"),
        (lambda: small(transfer="crd", num_train=16).terms(*batch()), "each image's position in the training set"),
        (lambda: small(layers=[("stem", "stm")]), "the teacher has no layer 'stm'"),
        (lambda: small(image_shape=(8, 8)), "image_shape must be (channels, height, width), got (8, 8)"),
        (lambda: small(image_shape=(1, 8, 8)), "the student does not take images of (1, 8, 8)"),
        (lambda: Distillation(Small(4), Other(), image_shape=(3, 8, 8), epochs=1), "teacher must give logits"),
        (lambda: Distillation(nn.Flatten(), Small(4), image_shape=(3, 8, 8), epochs=1), "no output of the student has"),
        (shared, "student and teacher share the parameter 'stem.0.weight'"),
        (lambda: small().end_epoch(), "terms and step were not called in epoch 1"),
        (in_eval_mode, "call student.train() first"),
        (with_another_optimizer, "the optimizer has no group of deep, head, stem; make it of"),
        (with_steps_that_are_no_gradients, "norms of gradients, which are not the steps of AdamW; use torch.optim.SGD"),
        (lambda: small(label_smoothing=1.0), "label_smoothing must be at least 0 and below 1, got 1.0"),
        (saved_in_an_epoch, "state_dict: epoch 1 has not ended"),
        (trained_too_long, "all 1 epoch(s) have ended"),
        (diverged, "of the loss were nan in epoch 1, step 1; lower the learning rate"),
        (of_another, "the state is not of this student"),
        (lambda: small().load_state_dict({}), "the state is not of this student"),
    ],
)
def test_wrong_use_is_refused_in_one_line(wrong: Callable[[], object], told: str) -> None:
    with pytest.raises(KdstudyError) as caught:
        wrong()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_importing_kdstudy_alone_loads_no_torch() -> None:
    code = (
        "import sys, kdstudy; assert 'torch' not in sys.modules; import kdstudy.distill; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
