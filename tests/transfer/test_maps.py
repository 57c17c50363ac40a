"""Maps by hand, and against torch's derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jvp

from kdstudy.transfer.maps import attention_map, curvature_map, directional_map, resize

# Two channels, one row of two positions.
ACTIVATION = torch.tensor([[[[1.0, -2.0]], [[3.0, 0.0]]]], dtype=torch.float64)
TANGENT = torch.tensor([[[[0.5, 1.0]], [[-1.0, 4.0]]]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("p", "expected"),
    [(1.0, [2.0, 1.0]), (2.0, [5.0, 2.0]), (3.0, [14.0, 4.0]), (1.5, [3.0980762, 1.4142136])],
)
def test_attention_by_hand(p: float, expected: list[float]) -> None:
    assert attention_map(ACTIVATION, p).flatten().tolist() == pytest.approx(expected)


def test_directional_by_hand() -> None:
    # 2 * mean(1 * 0.5, 3 * -1) and 2 * mean(-2 * 1, 0 * 4)
    assert directional_map(ACTIVATION, TANGENT).flatten().tolist() == [-2.5, -2.0]


def test_curvature_by_hand() -> None:
    # 2 * mean(0.25, 1) and 2 * mean(1, 16)
    assert curvature_map(TANGENT, TANGENT).flatten().tolist() == [1.25, 17.0]


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, 4.0])
def test_directional_is_the_derivative(p: float) -> None:
    _, expected = jvp(lambda a: attention_map(a, p), ACTIVATION, TANGENT)
    torch.testing.assert_close(directional_map(ACTIVATION, TANGENT, p), expected)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 2.5, 3.0])
def test_three_derivatives_are_finite_at_zero(p: float) -> None:
    point = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64, requires_grad=True)
    value: Tensor = attention_map(point.view(1, 3, 1, 1), p).sum()
    for _ in range(3):
        if not value.requires_grad:
            break
        (gradient,) = torch.autograd.grad(value, point, create_graph=True, materialize_grads=True)
        assert gradient.isfinite().all()
        value = gradient.sum()


def test_resize_pools_the_larger_map() -> None:
    grid = torch.arange(16.0).view(1, 4, 4)
    assert resize(grid, (4, 4)) is grid
    assert resize(grid, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert resize(grid, (3, 4)).shape == (1, 3, 4)
