"""The policies whose rates are a level, `lag`, `progress` and `trust`: three updates by hand, and what they refuse."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdstudy.errors import StudyError
from kdstudy.layerwise import Measurement
from kdstudy.layerwise.lag import LagPolicy
from kdstudy.layerwise.level import LevelPolicy
from kdstudy.layerwise.progress import ProgressPolicy
from kdstudy.layerwise.trust import TrustPolicy
from kdstudy.results import LayerRecord
from kdstudy.study import parse_study

OPEN: dict[str, Any] = {"low": 1e-9, "high": 1e9}
LAYERS = ("a", "b")
SIZES = (1, 3)


def lags(*pairs: tuple[float, float | None]) -> Measurement:
    return Measurement([own for own, _ in pairs], [chance for _, chance in pairs])


def losses(now: Sequence[float | None], first: Sequence[float | None]) -> Measurement:
    return Measurement([0.1] * len(now), [0.2] * len(now), terms=now, first_terms=first)


def norms(weights: Sequence[float], gradients: Sequence[float], weight_decay: float) -> Measurement:
    known = [0.1] * len(weights)
    return Measurement(known, known, weights=weights, gradients=gradients, weight_decay=weight_decay)


def check(policy: LevelPolicy, records: Sequence[LayerRecord], signals: Sequence[float], raw: Sequence[float]) -> None:
    """Compare signals, and multipliers with ``raw`` scaled by hand: their mean over parameters is 1."""
    assert [record.momentum for record in records] == pytest.approx(signals, abs=1e-12)
    mean = sum(size * alpha for size, alpha in zip(SIZES, raw, strict=True)) / sum(SIZES)
    expected = [alpha / mean for alpha in raw]
    assert list(policy.multipliers.values()) == pytest.approx(expected, rel=1e-9)
    assert [record.multiplier for record in records] == list(policy.multipliers.values())


def test_lag_by_hand() -> None:
    policy = LagPolicy(LAYERS, 0, SIZES, momentum=0.5, gain=2.0, **OPEN)
    # d / c = (4/10, 1/10): ln 4 apart, the mean lies 3/4 of the way to the second; s = (3/4, -1/4) ln 4
    records = policy.follow(lags((0.08, 0.2), (0.05, 0.5)))
    assert [record.divergence for record in records] == [0.08, 0.05]
    check(policy, records, [0.375 * math.log(4), -0.125 * math.log(4)], [2.0 * math.sqrt(2), 1 / math.sqrt(2)])
    # the other way round: s = (-3/4, 1/4) ln 4, eta = half of the former plus half of this
    records = policy.follow(lags((0.05, 0.5), (0.08, 0.2)))
    check(policy, records, [-0.1875 * math.log(4), 0.0625 * math.log(4)], [4**-0.375, 4**0.125])
    # equal shares of chance: s = 0, eta halves; nothing is added up
    records = policy.follow(lags((0.1, 0.2), (0.3, 0.6)))
    check(policy, records, [-0.09375 * math.log(4), 0.03125 * math.log(4)], [4**-0.1875, 4**0.0625])


def test_lag_has_no_fixed_favourite_and_stays_where_its_signal_stays() -> None:
    policy = LagPolicy(LAYERS, 0, (1, 1), momentum=0.0, gain=1.0, **OPEN)
    first = policy.follow(lags((0.02, 0.04), (0.2, 0.8)))
    assert first[0].multiplier / first[1].multiplier == pytest.approx(2.0), "the flat map lags, small as its d is"
    assert all(policy.follow(lags((0.02, 0.04), (0.2, 0.8))) == first for _ in range(50))


def test_lag_floors_and_leaves_out_what_cannot_be_compared() -> None:
    policy = LagPolicy(LAYERS, 0, (1, 1), momentum=0.0, gain=1.0, **OPEN)
    # d counts as 1e-12, c too: ln(1e-12 / 0.1) and ln(0.1 / 1e-12) about their mean 0
    records = policy.follow(lags((0.0, 0.1), (0.1, 1e-15)))
    assert [record.momentum for record in records] == pytest.approx([-math.log(1e11), math.log(1e11)])
    # no chance level: signal 0, and the mean is that of the others, here of one
    for unknown in (0.0, None, math.nan):
        records = policy.follow(lags((0.1, unknown), (0.3, 0.4)))
        assert [record.momentum for record in records] == [0.0, 0.0]
        assert set(policy.multipliers.values()) == {1.0}
    three = LagPolicy(("a", "b", "c"), 0, (1, 1, 100), momentum=0.0, gain=1.0, **OPEN)
    records = three.follow(lags((0.4, 0.4), (0.1, 0.4), (0.3, 0.0)))
    assert [record.momentum for record in records] == pytest.approx([math.log(2), -math.log(2), 0.0])


def test_progress_by_hand() -> None:
    policy = ProgressPolicy(LAYERS, 0, SIZES, gain=0.5, **OPEN)
    # the first epoch itself: everything is left everywhere
    records = policy.follow(losses([4.0, 2.0], [4.0, 2.0]))
    check(policy, records, [0.0, 0.0], [1.0, 1.0])
    # 3/4 and 1/4 left, mean 1/2: r = (3/2, 1/2)
    records = policy.follow(losses([3.0, 0.5], [4.0, 2.0]))
    check(policy, records, [math.log(1.5), math.log(0.5)], [math.sqrt(1.5), math.sqrt(0.5)])
    # 1/8 and 3/8 left, mean 1/4: r = (1/2, 3/2)
    records = policy.follow(losses([0.5, 0.75], [4.0, 2.0]))
    check(policy, records, [math.log(0.5), math.log(1.5)], [math.sqrt(0.5), math.sqrt(1.5)])


def test_progress_floors_and_leaves_out_what_is_not_finite() -> None:
    policy = ProgressPolicy(LAYERS, 0, (1, 1), gain=1.0, **OPEN)
    # a weight of 0: every loss is 0, 1e-12 over 1e-12
    assert [record.momentum for record in policy.follow(losses([0.0, 0.0], [0.0, 0.0]))] == [0.0, 0.0]
    assert [record.momentum for record in policy.follow(losses([None, 1.0], [1.0, 2.0]))] == [0.0, 0.0]
    assert [record.momentum for record in policy.follow(losses([None, None], [1.0, 2.0]))] == [0.0, 0.0]
    # far apart, nothing overflows: 1e300 and 1e-12 over 1, the mean is half the first
    records = policy.follow(losses([1e300, 1e-300], [1.0, 1.0]))
    assert [record.momentum for record in records] == pytest.approx([math.log(2), math.log(2e-12) - math.log(1e300)])


def test_trust_by_hand() -> None:
    policy = TrustPolicy(LAYERS, 0, SIZES, gain=0.5, **OPEN)
    # 6 / (1 + 0.5 * 6) = 1.5 and 2 / (11 + 0.5 * 2) = 1/6: a factor of 9
    records = policy.follow(norms([6.0, 2.0], [1.0, 11.0], 0.5))
    check(policy, records, [0.75 * math.log(9), -0.25 * math.log(9)], [3.0, 1.0])
    # without decay 4 / 2 and 8 / 1: a factor of 1/4
    records = policy.follow(norms([4.0, 8.0], [2.0, 1.0], 0.0))
    check(policy, records, [-0.75 * math.log(4), 0.25 * math.log(4)], [0.5, 1.0])
    # without gradients both ratios are 1 / wd
    records = policy.follow(norms([4.0, 8.0], [0.0, 0.0], 0.1))
    check(policy, records, [0.0, 0.0], [1.0, 1.0])


@pytest.mark.parametrize(
    ("weights", "gradients", "weight_decay"),
    [
        ([0.0, 1.0], [1.0, 2.0], 0.1),  # no weights
        ([1.0, 1.0], [0.0, 2.0], 0.0),  # no gradient and no decay
        ([1.0, 1.0], [math.nan, 2.0], 0.1),
        ([1.0, 1.0], [math.inf, 2.0], 0.1),
    ],
)
def test_trust_leaves_out_what_has_no_ratio(weights: list[float], gradients: list[float], weight_decay: float) -> None:
    policy = TrustPolicy(LAYERS, 0, SIZES, gain=2.0)
    assert [record.momentum for record in policy.follow(norms(weights, gradients, weight_decay))] == [0.0, 0.0]
    assert set(policy.multipliers.values()) == {1.0}


numbers = st.lists(st.floats(0, 1e6) | st.just(math.nan), min_size=3, max_size=3)


@settings(max_examples=80, deadline=None)
@given(
    one=numbers,
    other=numbers,
    gain=st.floats(-1e3, 1e3),
    name=st.sampled_from([LagPolicy, ProgressPolicy, TrustPolicy]),
)
def test_whatever_is_measured_the_mean_parameter_learns_at_the_base_rate(
    one: list[float], other: list[float], gain: float, name: type[LevelPolicy]
) -> None:
    policy = name(("a", "b", "c"), 0, (10, 200, 3000), gain=gain)
    policy.follow(Measurement(one, other, one, other, one, other, 5e-4))
    first, second, third = policy.multipliers.values()
    assert (10 * first + 200 * second + 3000 * third) / 3210 == pytest.approx(1.0, abs=1e-9)
    assert all(0.25 <= alpha <= 4.0 for alpha in policy.multipliers.values())


def test_lag_goes_on_from_its_state() -> None:
    whole, first, second = (LagPolicy(LAYERS, 0, SIZES, momentum=0.7) for _ in range(3))
    history = [lags((0.1, 0.3), (0.2, 0.3)), lags((0.2, 0.3), (0.1, 0.4)), lags((0.05, 0.1), (0.2, 0.25))]
    for measured in history:
        whole.follow(measured)
    first.follow(history[0])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for measured in history[1:]:
        second.follow(measured)
    assert second.state_dict() == whole.state_dict()


@pytest.mark.parametrize("policy", [LagPolicy, ProgressPolicy, TrustPolicy])
def test_one_layer_has_nothing_to_be_compared_with(policy: type[LevelPolicy]) -> None:
    with pytest.raises(StudyError, match=f"{policy.name}: compares layers with each other, got 1 crucial layer"):
        policy(["a"])
    assert policy.problems({}, epochs=100, num_layers=1)
    assert not policy.problems({}, epochs=100, num_layers=2)


STUDY = """
name: levels
data: {{name: synthetic}}
teacher: {{model: resnet8, epochs: 1}}
student: {{model: resnet8}}
train: {{epochs: 5, batch_size: 32, base_lr: 0.1}}
arms: {{transfers: [attention], policies: [constant, {policy}]}}
search: {{trials_per_arm: 1}}
"""


def test_their_options_may_be_ranges() -> None:
    for name, momentum in (("lag", "momentum: {uniform: [0.0, 0.9]}, "), ("progress", ""), ("trust", "")):
        options = f"{momentum}gain: {{uniform: [0.1, 1.0]}}, interval: {{int: [1, 3]}}"
        study = parse_study(STUDY.format(policy=f"{{{name}: {{{options}}}}}"), "levels.yaml")
        space = study.space(study.arms[-1])
        assert {path.rpartition(".")[2] for path in space} == {"gain", "interval", *(["momentum"] * bool(momentum))}


@pytest.mark.parametrize("name", ["lag", "progress", "trust"])
def test_check_says_where_no_update_would_ever_happen(name: str) -> None:
    with pytest.raises(StudyError, match=f"policies.{name}.interval: no update would ever happen in 5 epoch"):
        parse_study(STUDY.format(policy=name), "levels.yaml")
    with pytest.raises(StudyError, match="momentum"):
        parse_study(STUDY.format(policy=f"{{{name}: {{interval: 1, momentum: 1.0}}}}"), "levels.yaml")
