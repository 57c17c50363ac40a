"""Losses by hand."""

from __future__ import annotations

import math

import pytest
import torch

from kdstudy.transfer.losses import (
    batch_unit_distance,
    mean_square_norm,
    soft_target_loss,
    squared_distance,
    unit_distance,
)


def test_soft_targets_by_hand() -> None:
    # T = 2: the teacher's odds are e^(2 ln 3 / 2) = 3 to 1, the student's 1 to 1.
    teacher = torch.tensor([[2 * math.log(3.0), 0.0]], dtype=torch.float64)
    student = torch.zeros(1, 2, dtype=torch.float64)
    expected = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert soft_target_loss(student, teacher, 2.0, multilabel=False).item() == pytest.approx(expected, abs=1e-12)
    assert soft_target_loss(teacher, teacher, 2.0, multilabel=False).item() == pytest.approx(0, abs=1e-15)


def test_soft_targets_of_several_labels_by_hand() -> None:
    # Two independent labels, T = 1: teacher 0.8 and 0.5, student 0.5 and 0.5.
    teacher = torch.tensor([[math.log(4.0), 0.0]], dtype=torch.float64)
    student = torch.zeros(1, 2, dtype=torch.float64)
    expected = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert soft_target_loss(student, teacher, 1.0, multilabel=True).item() == pytest.approx(expected, abs=1e-12)


def test_soft_targets_do_not_reach_the_teacher() -> None:
    teacher = torch.randn(2, 3, requires_grad=True)
    student = torch.randn(2, 3, requires_grad=True)
    soft_target_loss(student, teacher, 4.0, multilabel=False).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_unit_distance_by_hand() -> None:
    # (3, 4) / 5 against (0, 1): 0.36 + 0.04; the second sample's maps agree up to scale. Mean 0.2.
    student = torch.tensor([[[3.0, 4.0]], [[2.0, 2.0]]], dtype=torch.float64)
    teacher = torch.tensor([[[0.0, 7.0]], [[5.0, 5.0]]], dtype=torch.float64)
    assert unit_distance(student, teacher).item() == pytest.approx(0.2, abs=1e-12)


def test_squared_distance_and_norm_by_hand() -> None:
    student, teacher = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    assert squared_distance(student, teacher).item() == 7.0
    assert mean_square_norm(student).item() == 2.5


def test_batch_unit_distance_by_hand() -> None:
    # Mean square norms 25/2 and 1/2: the student's rows become sqrt 2 (0.6, 0.8) and 0, the teacher's
    # sqrt 2 (0, 1) and 0; half of 2 (0.36 + 0.04).
    student = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    distance = batch_unit_distance(student, teacher)
    assert distance.item() == pytest.approx((0.6**2 + 0.2**2) * 2 / 2, abs=1e-12)
    (gradient,) = torch.autograd.grad(distance, student)
    assert (gradient * student).sum().item() == pytest.approx(0, abs=1e-12)  # none along the scale of the maps


def test_a_zero_map_has_finite_derivatives() -> None:
    student = torch.zeros(2, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(unit_distance(student, torch.ones(2, 3, 3)), student, create_graph=True)
    assert gradient.isfinite().all()
    (second,) = torch.autograd.grad(gradient.square().sum(), student)
    assert second.isfinite().all()
