"""Probabilistic transfer by hand and against torchdistill."""

from __future__ import annotations

import math

import pytest
import torch

from kdstudy.transfer.pkt import ProbabilisticTransfer, neighbours
from tests.transfer.waves import STUDENT, TEACHER, TORCHDISTILL, batch_of, context, seen


def test_two_samples_by_hand() -> None:
    # Orthogonal: kernel (1, 1/2), so p = (2/3, 1/3). Parallel: p = (1/2, 1/2).
    orthogonal, parallel = torch.eye(2), torch.tensor([[1.0, 0.0], [5.0, 0.0]])
    assert torch.allclose(neighbours(orthogonal), torch.tensor([[2.0, 1.0], [1.0, 2.0]]) / 3)
    method = ProbabilisticTransfer(context((2, 1, 1), (2, 1, 1)), weight=1.0)
    student, teacher = parallel.view(2, 2, 1, 1), orthogonal.view(2, 2, 1, 1)
    value = method.terms(seen(student), seen(teacher), batch_of(2))["pkt/layer1"].item()
    assert value == pytest.approx((2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)) / 2, rel=1e-5)


def test_against_torchdistill() -> None:
    method = ProbabilisticTransfer(context((3, 2, 2), (4, 2, 2)))
    value = method.terms(seen(STUDENT), seen(TEACHER), batch_of(5))["pkt/layer1"].item()
    assert value == pytest.approx(30000 * 0.08239959516226508, **TORCHDISTILL)  # PKTLoss of the pooled features
