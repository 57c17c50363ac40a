"""The mean over parameters is 1 within the bounds: worked out by hand, and for any multipliers."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kdstudy.layerwise import layer_sizes, normalised
from kdstudy.models import build_model

# The three stages of ResNet-8 with their batch norms and shortcuts. Stage 1 has the first convolution too:
# 432 + 32 + 2 * 2304 + 64; stage 2: 4608 + 9216 + 128 + 512 + 64; stage 3: 18432 + 36864 + 256 + 2048 + 128.
RESNET8 = (5136, 14528, 57728)

layers = st.integers(1, 6).flatmap(
    lambda count: st.tuples(
        st.lists(st.just(0.0) | st.floats(1e-200, 1e200), min_size=count, max_size=count),
        st.lists(st.integers(1, 10**9), min_size=count, max_size=count),
    )
)


def mean(alphas: list[float], sizes: tuple[int, ...] | list[int]) -> float:
    return sum(size * alpha for size, alpha in zip(sizes, alphas, strict=True)) / sum(sizes)


def test_the_sizes_of_resnet8_by_hand() -> None:
    module = build_model("resnet8", {}, num_classes=10, image_shape=(3, 8, 8), mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    assert layer_sizes(module, ["layer1", "layer2", "layer3"], (3, 8, 8)) == RESNET8
    assert layer_sizes(module, ["layer3", "layer1"], (3, 8, 8)) == (14528 + 57728, 5136), "in the order given"
    assert layer_sizes(module, [], (3, 8, 8)) == ()


def test_where_the_mean_layer_keeps_the_base_rate_the_mean_parameter_does_not() -> None:
    before = normalised([0.25, 0.25, 2.8], RESNET8, True, 0.25, 4.0)
    # over the mean 1.1: (0.227, 0.227, 2.545), then the bounds
    assert before == pytest.approx([0.25, 0.25, 2.8 / 1.1])
    # 0.25 * 19664 + 2.8 * 57728 parameters of 77392
    assert mean([0.25, 0.25, 2.8], RESNET8) == pytest.approx(2.15, abs=0.005)
    # c < 1, so the first two stay at the bound, and the third gets what is left: (77392 - 0.25 * 19664) / 57728
    assert normalised([0.25, 0.25, 2.8], RESNET8, "parameters", 0.25, 4.0) == pytest.approx([0.25, 0.25, 72476 / 57728])
    # equal shares: 3 - 0.5, and nothing clipped afterwards
    assert normalised([0.25, 0.25, 2.8], RESNET8, "layers", 0.25, 4.0) == pytest.approx([0.25, 0.25, 2.5])


def test_what_the_upper_bound_takes_goes_to_the_others() -> None:
    # (e, 1/e) in equal shares: one at its bound 1.2, so the other is 0.8
    assert normalised([math.e, 1 / math.e], (1, 1), "parameters", 0.5, 1.2) == pytest.approx([1.2, 0.8])
    # shares 1/4 and 3/4: 3 * alpha = 4 - 1.2
    assert normalised([math.e, 1 / math.e], (1, 3), "parameters", 0.5, 1.2) == pytest.approx([1.2, 2.8 / 3])


def test_a_layer_at_zero_is_lifted_where_the_others_cannot_make_up_for_it() -> None:
    # the second alone reaches 0.1 * 4: the first must have 0.6 / 0.9
    assert normalised([0.0, 2.0], (9, 1), "parameters", 0.25, 4.0) == pytest.approx([0.6 / 0.9, 4.0])
    assert normalised([0.0, 2.0], (1, 9), "parameters", 0.25, 4.0) == pytest.approx([0.25, (1 - 0.025) / 0.9])


def test_without_bounds_it_is_a_division_by_the_mean() -> None:
    assert normalised([1.0, 2.0], (3, 1), "parameters") == pytest.approx([0.8, 1.6])
    assert normalised([1.0, 2.0], (3, 1), "layers") == pytest.approx([2 / 3, 4 / 3])


def test_a_layer_without_parameters_has_no_share() -> None:
    assert normalised([1.0, 4.0, 2.0], (0, 1, 1), "parameters") == pytest.approx([1 / 3, 4 / 3, 2 / 3])
    assert normalised([1.0, 3.0], (0, 0), "parameters") == pytest.approx([0.5, 1.5]), "all of them: equal shares"
    assert normalised([], (), "parameters") == []


def test_off_clips_alone() -> None:
    for off in ("off", False):
        assert normalised([0.1, 9.0, 2.0], RESNET8, off, 0.25, 4.0) == [0.25, 4.0, 2.0]  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["parameters", "layers"])
@pytest.mark.parametrize("same", [1.0, 0.1, 3e-200, 0.0])
def test_equal_multipliers_are_exactly_one(how: str, same: float) -> None:
    assert normalised([same] * 3, RESNET8, how, 0.25, 4.0) == [1.0, 1.0, 1.0]  # type: ignore[arg-type]


@settings(max_examples=300, deadline=None)
@given(layers=layers, low=st.floats(1e-6, 1), high=st.floats(1, 1e6))
@example(layers=([1e-200, 1e200, 0.0], [1, 10**9, 7]), low=0.25, high=4.0)
@example(layers=([1.0, 2.0], [1, 1]), low=1.0, high=1.0)
@example(layers=([0.0, 4.5e196, 2e-103, 1.8e-135], [1, 1, 1, 1]), low=0.5, high=2.0)
def test_the_mean_is_one_within_the_bounds_and_the_order_stays(
    layers: tuple[list[float], list[int]], low: float, high: float
) -> None:
    alphas, sizes = layers
    found = normalised(alphas, sizes, "parameters", low, high)
    assert mean(found, sizes) == pytest.approx(1.0, abs=1e-9)
    assert all(low <= alpha <= high for alpha in found)
    ranked = [alpha for _, alpha in sorted(zip(alphas, found, strict=True))]
    assert ranked == sorted(ranked)
    told_apart = max(alphas) * 1e-299  # what is smaller beside the largest counts as equally small
    inside = [now / was for was, now in zip(alphas, found, strict=True) if low < now < high and was > told_apart]
    if inside:
        assert max(inside) == pytest.approx(min(inside), rel=1e-9), "one factor for all that no bound holds"
