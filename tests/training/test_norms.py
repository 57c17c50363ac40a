"""Norms of weights and gradients by layer: by hand, and without a look at the device in between."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdstudy.training.norms import LayerNorms, Norms


def test_means_over_two_steps_by_hand() -> None:
    first, second = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.tensor([[12.0]]))
    unused = nn.Parameter(torch.tensor([1.0]))
    norms = LayerNorms([{"layer": "a", "params": [first, second]}, {"layer": "head", "params": [unused]}])
    assert norms.means() == {}
    first.grad, second.grad = torch.tensor([2.0, 0.0]), torch.tensor([[1.5]])
    norms.add()  # weights: sqrt(9 + 16 + 144) = 13; gradients: sqrt(4 + 2.25) = 2.5
    with torch.no_grad():
        first.zero_()
        second.fill_(-7.0)
    first.grad, second.grad = torch.tensor([0.0, 0.5]), torch.tensor([[0.0]])
    norms.add()
    assert norms.means() == {"a": Norms(10.0, 1.5), "head": Norms(1.0, 0.0)}


def test_what_is_not_finite_stays_so() -> None:
    weight = nn.Parameter(torch.ones(2))
    norms = LayerNorms([{"layer": "a", "params": [weight]}])
    weight.grad = torch.tensor([torch.inf, 0.0])
    norms.add()
    assert norms.means()["a"].gradients == float("inf")
    assert norms.means()["a"].weights == pytest.approx(2**0.5)
