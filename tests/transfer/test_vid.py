"""Variational information distillation by hand and against torchdistill."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from kdstudy.transfer.vid import VariationalTransfer
from tests.transfer.waves import STUDENT, TEACHER, TORCHDISTILL, batch_of, context, fill, seen


def test_a_perfect_prediction_costs_the_logarithm_of_the_variance() -> None:
    method = VariationalTransfer(context((1, 1, 1), (1, 1, 1)), variance=3.0)
    with torch.no_grad():
        for weight in method.means.parameters():
            weight.fill_(1.0)
    two = torch.full((1, 1, 1, 1), 2.0)
    assert method.terms(seen(two), seen(two), batch_of(1))["vid/layer1"].item() == pytest.approx(math.log(3) / 2)
    off = method.terms(seen(two), seen(two + 1.5), batch_of(1))["vid/layer1"].item()
    assert off == pytest.approx((1.5**2 / 3 + math.log(3)) / 2, rel=1e-6)


@pytest.mark.parametrize("variance", [2e-5, 0.01, 5.0, 1000.0])
def test_variances_start_where_asked(variance: float) -> None:
    raw = VariationalTransfer(context((1, 1, 1), (2, 1, 1)), variance=variance).raw_variances[0]
    assert (functional.softplus(raw) + 1e-5).tolist() == pytest.approx([variance] * 2, rel=1e-4)


def test_against_torchdistill() -> None:
    # VIDLoss of Regressor4VID(3, 4, 4, eps=1e-5, init_pred_var=5.0), filled in the order of its parameters.
    method = VariationalTransfer(context((3, 2, 2), (4, 2, 2))).double()
    fill([*method.raw_variances, *method.means.parameters()])
    value = method.terms(seen(STUDENT), seen(TEACHER), batch_of(5))["vid/layer1"].item()
    assert value == pytest.approx(0.7691571942315297, **TORCHDISTILL)
