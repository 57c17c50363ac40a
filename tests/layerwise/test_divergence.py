"""The divergence against numbers worked out by hand, scipy, and its own mathematical properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from kdstudy.errors import MapError
from kdstudy.layerwise.divergence import measure_divergence


def random_maps(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_point_against_an_even_pair_by_hand() -> None:
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4): H(m) - H(q)/2 = 2 ln 2 - 3/4 ln 3 - 1/2 ln 2
    expected = (1.5 * math.log(2) - 0.75 * math.log(3)) / math.log(2)
    found = measure_divergence(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[3.0, 3.0]]]))
    assert found.value == pytest.approx(expected, abs=1e-15)
    assert (found.used, found.student_empty, found.teacher_empty, found.samples) == (1, 0, 0, 1)


def test_unequal_weights_by_hand() -> None:
    # Disjoint supports reach the bound H(b) for every b; equal ones give 0.
    apart, same = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 5.0]])
    for b1 in (0.1, 0.5, 0.8):
        assert measure_divergence(apart, same, b1).value == pytest.approx(1.0, abs=1e-15)
        assert measure_divergence(same, 3 * same, b1).value == 0.0
    # p = (1, 0), q = (1/2, 1/2), b = (1/4, 3/4): m = (5/8, 3/8)
    mixture = -5 / 8 * math.log(5 / 8) - 3 / 8 * math.log(3 / 8)
    bound = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    found = measure_divergence(apart, torch.ones(1, 2), 0.25).value
    assert found == pytest.approx((mixture - 0.75 * math.log(2)) / bound, abs=1e-15)


@pytest.mark.parametrize("shape", [(7, 4, 5), (7, 3, 4, 5), (1, 40), (7, 1, 6)])
def test_equals_scipys_squared_distance(shape: tuple[int, ...]) -> None:
    student, teacher = random_maps(0, *shape), random_maps(1, *shape)
    rows = zip(student.flatten(1).double().numpy(), teacher.flatten(1).double().numpy(), strict=True)
    expected = np.mean([jensenshannon(p, q, base=2) ** 2 for p, q in rows])
    assert measure_divergence(student, teacher).value == pytest.approx(expected, rel=1e-12)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), b1=st.floats(0.01, 0.99), sharpness=st.floats(0.1, 30))
def test_lies_in_zero_to_one_and_ignores_scale_and_sign(seed: int, b1: float, sharpness: float) -> None:
    student, teacher = (random_maps(seed + k, 5, 3, 3).pow(sharpness) for k in (0, 1))
    found = measure_divergence(student, teacher, b1).value
    assert 0.0 <= found <= 1.0
    assert measure_divergence(-4.0 * student, teacher, b1).value == pytest.approx(found, abs=1e-14)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), b1=st.floats(0.01, 0.99))
def test_swapping_the_networks_swaps_the_weights(seed: int, b1: float) -> None:
    student, teacher = random_maps(seed, 5, 6), random_maps(seed + 1, 5, 6)
    assert measure_divergence(student, teacher, b1).value == pytest.approx(
        measure_divergence(teacher, student, 1 - b1).value
    )
    assert measure_divergence(student, teacher).value == pytest.approx(
        measure_divergence(teacher, student).value, abs=1e-15
    )


def test_near_identical_maps_are_told_apart() -> None:
    base = torch.full((1, 4), 0.25, dtype=torch.float64)
    shift = torch.tensor([[1.0, -1.0, 0.0, 0.0]], dtype=torch.float64)
    # To second order JSD = sum (p - q)^2 / (8 m): here 2 * 1e-10 / 2.
    found = measure_divergence(base + 1e-5 * shift, base).value * math.log(2)
    assert found == pytest.approx(1e-10, rel=1e-4)


def test_the_mean_is_over_the_samples_that_have_both_maps() -> None:
    student = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [math.nan, 1.0]])
    teacher = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    found = measure_divergence(student, teacher)
    assert (found.value, found.used, found.student_empty, found.teacher_empty) == (0.5, 2, 2, 1)
    assert not found.student_failed
    assert not found.teacher_failed


def test_more_than_half_left_out_is_the_teachers_fault_or_the_students() -> None:
    full, empty = torch.ones(4, 2), torch.zeros(4, 2)
    some = torch.tensor([[1.0, 1.0], [0, 0], [0, 0], [0, 0]])
    assert measure_divergence(some, full).student_failed
    assert not measure_divergence(some, full).teacher_failed
    assert measure_divergence(full, some).teacher_failed
    assert not measure_divergence(full, some).student_failed
    assert measure_divergence(empty, empty).teacher_failed
    assert math.isnan(measure_divergence(empty, full).value)


def test_the_larger_map_is_pooled_to_the_smaller() -> None:
    small = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    large = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert measure_divergence(large, small).value == pytest.approx(0.0, abs=1e-15)
    assert measure_divergence(small, large).value == pytest.approx(0.0, abs=1e-15)
    # Absolute values first: what cancels in a sum is mass all the same.
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2)
    assert measure_divergence(large * signs, small).value == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("shapes", [((2, 3, 4, 4), (2, 1, 4, 4)), ((2, 4), (2, 5)), ((2, 4, 4), (3, 4, 4))])
def test_maps_that_cannot_be_compared_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(MapError, match="cannot be compared"):
        measure_divergence(torch.ones(shapes[0]), torch.ones(shapes[1]))
