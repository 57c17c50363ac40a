"""The layer-wise controller: sequences worked out by hand, and its invariants."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdstudy.errors import StudyError
from kdstudy.layerwise.controller import LayerwisePolicy
from kdstudy.results import LayerRecord

LAYERS = ("a", "b")
OPEN = {"low": 1e-9, "high": 1e9}

histories = st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=2, max_size=20)
variants = st.fixed_dictionaries(
    {
        "rule": st.sampled_from(["multiplicative", "additive"]),
        "signal": st.sampled_from(["relative", "absolute"]),
        "normalise": st.sampled_from(["parameters", "layers", "off", True, False]),
    }
)


def alphas(policy: LayerwisePolicy) -> list[float]:
    return list(policy.multipliers.values())


def test_multiplicative_relative_by_hand() -> None:
    policy = LayerwisePolicy(LAYERS, momentum=0.5, gain=2.0, normalise="off", **OPEN)
    # d = (0.3, 0.1): mean 0.2, signals +1/2 and -1/2, eta +-1/4
    first = policy.update([0.3, 0.1])
    assert alphas(policy) == pytest.approx([math.exp(0.5), math.exp(-0.5)], rel=1e-14)
    assert first == (
        LayerRecord("a", 0.3, pytest.approx(0.25), policy.multipliers["a"]),
        LayerRecord("b", 0.1, pytest.approx(-0.25), policy.multipliers["b"]),
    )
    # d = (0.2, 0.6): mean 0.4, signals -1/2 and +1/2, eta = +-(1/8 - 1/4)
    second = policy.update([0.2, 0.6])
    assert [record.momentum for record in second] == pytest.approx([-0.125, 0.125])
    assert alphas(policy) == pytest.approx([math.exp(0.25), math.exp(-0.25)], rel=1e-14)


def test_the_mean_parameter_keeps_the_base_rate_within_the_bounds() -> None:
    policy = LayerwisePolicy(LAYERS, 0, (1, 3), momentum=0.0, gain=1.0, low=0.5, high=1.2)
    # signals +-1: e is far above its bound, so the second has (4 - 1.2) / 3
    policy.update([0.2, 0.0])
    assert alphas(policy) == pytest.approx([1.2, 2.8 / 3])
    # from there, all equal: nothing moves, for the mean is 1
    policy.update([0.1, 0.1])
    assert alphas(policy) == pytest.approx([1.2, 2.8 / 3])
    layers = LayerwisePolicy(LAYERS, 0, (1, 3), momentum=0.0, gain=1.0, low=0.5, high=1.2, normalise="layers")
    layers.update([0.2, 0.0])
    assert alphas(layers) == pytest.approx([1.2, 0.8])


def test_records_of_earlier_versions_divide_by_the_mean_before_the_bounds() -> None:
    policy = LayerwisePolicy(LAYERS, 0, (1, 3), momentum=0.0, gain=1.0, low=0.5, high=1.2, normalise=True)  # type: ignore[arg-type]
    # signals +-1: (e, 1/e) over their mean (e + 1/e) / 2 is (1.762, 0.238), then the bounds
    policy.update([0.2, 0.0])
    assert alphas(policy) == [1.2, 0.5]
    # from there, all equal: signals 0, so the mean 0.85 alone acts
    policy.update([0.1, 0.1])
    assert alphas(policy) == pytest.approx([1.2, 0.5 / 0.85])


def test_additive_by_hand() -> None:
    policy = LayerwisePolicy(LAYERS, momentum=0.0, gain=0.4, rule="additive", normalise="off")
    policy.update([0.3, 0.1])
    assert alphas(policy) == pytest.approx([1.2, 0.8])
    policy.update([0.1, 0.3])
    assert alphas(policy) == pytest.approx([1.0, 1.0])


def test_absolute_by_hand() -> None:
    policy = LayerwisePolicy(("a",), momentum=0.5, gain=1.0, signal="absolute", normalise="off")
    policy.update([0.4])
    policy.update([0.4])
    assert alphas(policy) == pytest.approx([math.exp(0.2 + 0.3)])


def test_a_negative_gain_slows_the_lagging_layer() -> None:
    policy = LayerwisePolicy(LAYERS, gain=-0.5)
    policy.update([0.3, 0.1])
    assert policy.multipliers["a"] < 1 < policy.multipliers["b"]


def test_equal_layers_stay_equal_and_no_divergence_gives_no_signal() -> None:
    for values in ([0.0, 0.0], [0.2, 0.2]):
        policy = LayerwisePolicy(LAYERS, gain=1.0)
        policy.update(values)
        assert alphas(policy) == [1.0, 1.0]


@pytest.mark.parametrize(("gain", "expected"), [(2.0, [0.25, 1.75]), (20.0, [0.25, 1.75])])
def test_additive_below_zero_counts_as_zero(gain: float, expected: list[float]) -> None:
    # signals (-1, +1): (1 - gain, 1 + gain) becomes (0, 1 + gain): the first is at its bound, the second has the rest
    policy = LayerwisePolicy(LAYERS, momentum=0.0, gain=gain, rule="additive")
    policy.update([0.0, 0.2])
    assert alphas(policy) == pytest.approx(expected)


def test_additive_with_every_layer_below_zero_makes_them_equal() -> None:
    policy = LayerwisePolicy(LAYERS, momentum=0.0, gain=-9.0, rule="additive", signal="absolute")
    policy.update([0.3, 0.6])
    assert alphas(policy) == [1.0, 1.0]
    unnormalised = LayerwisePolicy(LAYERS, momentum=0.0, gain=-9.0, rule="additive", signal="absolute", normalise="off")
    unnormalised.update([0.3, 0.6])
    assert alphas(unnormalised) == [0.25, 0.25]


@settings(max_examples=60, deadline=None)
@given(steps=histories, variant=variants, gain=st.floats(-1e6, 1e6), momentum=st.floats(0, 0.99))
def test_multipliers_stay_finite_and_within_their_bounds(
    steps: list[list[float]], variant: dict[str, Any], gain: float, momentum: float
) -> None:
    policy = LayerwisePolicy("abc", gain=gain, momentum=momentum, **variant)
    for values in steps:
        policy.update(values)
        assert all(0.25 <= alpha <= 4.0 for alpha in alphas(policy))


@settings(max_examples=60, deadline=None)
@given(
    steps=histories,
    rule=st.sampled_from(["multiplicative", "additive"]),
    gain=st.floats(-1e6, 1e6),
    sizes=st.lists(st.integers(1, 10**8), min_size=3, max_size=3),
)
def test_the_mean_parameter_learns_at_the_base_rate_after_every_update(
    steps: list[list[float]], rule: Any, gain: float, sizes: list[int]
) -> None:
    policy = LayerwisePolicy("abc", 0, sizes, gain=gain, rule=rule)
    for values in steps:
        policy.update(values)
        total = sum(size * alpha for size, alpha in zip(sizes, alphas(policy), strict=True))
        assert total / sum(sizes) == pytest.approx(1.0, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(steps=histories, variant=variants)
def test_gain_zero_leaves_every_multiplier_exactly_one(steps: list[list[float]], variant: dict[str, Any]) -> None:
    policy = LayerwisePolicy("abc", gain=0.0, **variant)
    for values in steps:
        policy.update(values)
        assert alphas(policy) == [1.0, 1.0, 1.0]


@settings(max_examples=30, deadline=None)
@given(steps=histories, data=st.data())
def test_going_on_from_a_checkpoint_equals_never_having_stopped(steps: list[list[float]], data: st.DataObject) -> None:
    stop = data.draw(st.integers(1, len(steps) - 1))
    straight, before = LayerwisePolicy("abc", gain=0.5), LayerwisePolicy("abc", gain=0.5)
    expected = [straight.update(values) for values in steps]
    found = [before.update(values) for values in steps[:stop]]
    after = LayerwisePolicy("abc", gain=0.5)
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    found += [after.update(values) for values in steps[stop:]]
    assert found == expected


def test_a_saved_state_is_a_copy() -> None:
    policy = LayerwisePolicy(LAYERS, gain=1.0)
    state = policy.state_dict()
    policy.update([0.3, 0.1])
    assert state == {"multipliers": {"a": 1.0, "b": 1.0}, "momentum": {"a": 0.0, "b": 0.0}}


def test_updates_fall_on_multiples_of_the_interval_but_not_on_the_last_epoch() -> None:
    policy = LayerwisePolicy(LAYERS, interval=3)
    assert [epoch for epoch in range(1, 10) if policy.due(epoch, 9)] == [3, 6]
    assert [epoch for epoch in range(1, 11) if policy.due(epoch, 10)] == [3, 6, 9]


def test_the_default_interval_is_the_papers() -> None:
    assert [epoch for epoch in range(1, 101) if LayerwisePolicy(LAYERS).due(epoch, 100)] == [25, 50, 75]


def test_relative_needs_two_layers() -> None:
    with pytest.raises(StudyError, match=r"layerwise.signal: 'relative' .* got 1 crucial layer"):
        LayerwisePolicy(("a",))
    assert LayerwisePolicy(("a",), signal="absolute").multipliers == {"a": 1.0}


@pytest.mark.parametrize(
    ("options", "epochs", "num_layers", "expected"),
    [
        ({}, 100, 3, []),
        ({}, 25, 3, ["no update would ever happen in 25"]),
        ({"interval": 8}, 8, None, ["got 8"]),
        ({"interval": 7}, 8, None, []),
        ({"interval": 1}, 8, 1, ["'relative' compares"]),
        ({"interval": 1, "signal": "absolute"}, 8, 1, []),
        ({"interval": 9}, 8, 0, ["got 9", "got 0 crucial"]),
    ],
)
def test_problems_are_found_before_anything_runs(
    options: dict[str, object], epochs: int, num_layers: int | None, expected: list[str]
) -> None:
    found = LayerwisePolicy.problems(options, epochs=epochs, num_layers=num_layers)
    assert len(found) == len(expected)
    assert all(part in line and "\n" not in line for part, line in zip(expected, found, strict=True))


def test_the_number_of_divergences_must_be_that_of_the_layers() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        LayerwisePolicy(LAYERS).update([0.1])
