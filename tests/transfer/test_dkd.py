"""DKD by hand, and against soft targets, of which it is a decomposition."""

from __future__ import annotations

import math

import pytest
import torch

from kdstudy.errors import MapError
from kdstudy.transfer.base import Observation
from kdstudy.transfer.dkd import DecoupledTransfer, decoupled_losses
from kdstudy.transfer.losses import soft_target_loss
from tests.transfer.waves import batch_of, context, wave

LABELS = torch.tensor([0, 2, 1, 1])


def method(**options: float) -> DecoupledTransfer:
    return DecoupledTransfer(context((3, 2, 2), (3, 2, 2)), **options)


def terms(made: DecoupledTransfer, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor) -> dict:
    return made.terms(Observation(student, ()), Observation(teacher, ()), batch_of(len(student), labels))


def test_three_classes_by_hand() -> None:
    # Teacher (1/2, 1/4, 1/4) of true class 0; student (1/4, 1/4, 1/2).
    teacher, student = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([[0.25, 0.25, 0.5]]).log()
    target, others = decoupled_losses(student, teacher, torch.tensor([0]), 1.0)
    assert target.item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-6)
    assert others.item() == pytest.approx(0.5 * math.log(1.5) + 0.5 * math.log(0.75), abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_targets_are_the_case_beta_one_minus_p(temperature: float) -> None:
    student, teacher = 2 * wave(4, 3, phase=0.2), 3 * wave(4, 3, phase=1.9)
    total = 0.0
    for row in range(4):
        one = slice(row, row + 1)
        target, others = decoupled_losses(student[one], teacher[one], LABELS[one], temperature)
        p = (teacher[row] / temperature).softmax(0)[LABELS[row]]
        total += (target + (1 - p) * others).item() / 4
    expected = soft_target_loss(student, teacher, temperature, multilabel=False).item()
    assert total == pytest.approx(expected, rel=1e-12)


def test_options_weigh_the_parts() -> None:
    student, teacher = wave(4, 3), wave(4, 3, phase=1.0)
    target, others = decoupled_losses(student, teacher, LABELS, 2.0)
    made = terms(method(weight=0.5, alpha=3.0, beta=5.0, temperature=2.0, kd_weight=1.0), student, teacher, LABELS)
    assert made["dkd/target"].item() == pytest.approx(1.5 * target.item())
    assert made["dkd/others"].item() == pytest.approx(2.5 * others.item())
    assert made["kd"].item() == pytest.approx(soft_target_loss(student, teacher, 2.0, multilabel=False).item())
    defaults = terms(method(), student, teacher, LABELS)
    target, others = decoupled_losses(student, teacher, LABELS, 4.0)
    assert defaults["dkd/target"].item() == pytest.approx(target.item())
    assert defaults["dkd/others"].item() == pytest.approx(8 * others.item())


def test_warm_up_scales_both_parts() -> None:
    student, teacher = wave(4, 3), wave(4, 3, phase=1.0)
    full, warming = method(), method(warmup=2.0)  # 8 training images
    for share in (0.25, 0.5):
        for key, term in terms(warming, student, teacher, LABELS).items():
            assert term.item() == pytest.approx(share * terms(full, student, teacher, LABELS)[key].item())


def test_extreme_logits_and_two_classes_are_finite() -> None:
    student = torch.tensor([[400.0, -400.0], [-400.0, 400.0]], requires_grad=True)
    target, others = decoupled_losses(student, -student.detach(), torch.tensor([0, 1]), 1.0)
    (target + others).backward()
    assert target.isfinite()
    assert others.item() == 0.0, "one class has no others to tell apart"
    assert student.grad.isfinite().all()


def test_several_labels_are_refused_in_one_line() -> None:
    with pytest.raises(MapError, match="dkd: needs one true class an image, got multi-label data; choose") as error:
        terms(method(), wave(4, 3), wave(4, 3), torch.ones(4, 3))
    assert "\n" not in str(error.value)
