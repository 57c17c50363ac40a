"""Similarity preservation by hand and against torchdistill, which divides rows by another norm."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from kdstudy.transfer.sp import SimilarityTransfer
from tests.transfer.waves import STUDENT, TEACHER, TORCHDISTILL, batch_of, context, seen


def test_two_samples_by_hand() -> None:
    # G_S = I. G_T = [[1, 1], [1, 2]]: rows (1, 1) / sqrt 2 and (1, 2) / sqrt 5.
    student = torch.eye(2).view(2, 2, 1, 1)
    teacher = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).view(2, 2, 1, 1)
    method = SimilarityTransfer(context((2, 1, 1), (2, 1, 1)), weight=1.0)
    row1 = (1 - 0.5**0.5) ** 2 + 0.5
    row2 = 0.2 + (1 - 2 * 0.2**0.5) ** 2
    value = method.terms(seen(student), seen(teacher), batch_of(2))["sp/layer1"].item()
    assert value == pytest.approx((row1 + row2) / 4, rel=1e-6)


def test_against_torchdistill_but_for_the_norm_of_the_rows() -> None:
    method = SimilarityTransfer(context((3, 2, 2), (4, 2, 2)))
    similarities = [feature.flatten(1) @ feature.flatten(1).T for feature in (STUDENT, TEACHER)]
    losses = {}
    for p in (1, 2):
        student, teacher = (functional.normalize(similarity, p=p) for similarity in similarities)
        losses[p] = ((student - teacher).norm() / 5).square().item()
    assert losses[1] == pytest.approx(0.09215082141587538, **TORCHDISTILL)  # SPKDLoss, batchmean
    value = method.terms(seen(STUDENT), seen(TEACHER), batch_of(5))["sp/layer1"].item()
    assert value == pytest.approx(3000 * losses[2], rel=1e-10)
