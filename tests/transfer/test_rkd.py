"""Relational distillation by hand and against torchdistill."""

from __future__ import annotations

import pytest
import torch

from kdstudy.transfer.rkd import RelationalTransfer, relations
from tests.transfer.waves import STUDENT, TEACHER, TORCHDISTILL, batch_of, context, seen


def test_a_right_triangle_by_hand() -> None:
    distances, cosines = relations(torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64))
    expected = torch.tensor([[0.0, 3.0, 4.0], [3.0, 0.0, 5.0], [4.0, 5.0, 0.0]], dtype=torch.float64) / 4
    assert torch.allclose(distances, expected)
    angles = {(0, 1, 2): 0.0, (1, 0, 2): 0.6, (2, 0, 1): 0.8, (0, 1, 1): 1.0, (0, 0, 1): 0.0}
    for (corner, first, second), cosine in angles.items():
        assert cosines[corner, first, second].item() == pytest.approx(cosine, abs=1e-12)


def test_against_torchdistill() -> None:
    # RKDLoss of the pooled features, mean: factors 25 and 50, then 25 and 0.
    for angle, expected in ((50.0, 15.833218196343976), (0.0, 4.668141330702349)):
        method = RelationalTransfer(context((3, 2, 2), (4, 2, 2)), angle=angle)
        value = method.terms(seen(STUDENT), seen(TEACHER), batch_of(5))["rkd/layer1"].item()
        assert value == pytest.approx(expected, **TORCHDISTILL)


def test_size_and_position_do_not_matter() -> None:
    moved = 3 * STUDENT + 7
    method = RelationalTransfer(context((3, 2, 2), (3, 2, 2)))
    assert method.terms(seen(STUDENT), seen(moved), batch_of(5))["rkd/layer1"].item() == pytest.approx(0, abs=1e-20)


def test_samples_that_coincide_take_finite_gradients() -> None:
    student = torch.ones(4, 3, 2, 2, requires_grad=True)
    method = RelationalTransfer(context((3, 2, 2), (4, 2, 2)))
    method.terms(seen(student), seen(TEACHER[:4].float()), batch_of(4))["rkd/layer1"].backward()
    assert student.grad.isfinite().all()
