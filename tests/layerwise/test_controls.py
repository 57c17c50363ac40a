"""The controls of the layer-wise rule, `walk`, `replay` and `placebo`: by hand, and what they share with it."""

import json
import math
import random
from statistics import NormalDist, mean, stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdstudy.errors import StudyError
from kdstudy.layerwise.controller import LayerwisePolicy
from kdstudy.layerwise.placebo import PlaceboPolicy
from kdstudy.layerwise.replay import ReplayPolicy
from kdstudy.layerwise.shuffled import WalkPolicy
from kdstudy.plugins import POLICIES
from kdstudy.results import LayerRecord
from kdstudy.seeds import derive
from kdstudy.study import parse_study

LAYERS = ("a", "b", "c")
OPEN = {"low": 1e-9, "high": 1e9}
MEANS: tuple[Any, ...] = ("off", "parameters")

divergences = st.lists(st.floats(0.001, 1), min_size=3, max_size=3)


def walk(seed: int, **options: Any) -> WalkPolicy:
    return WalkPolicy(LAYERS, seed, **options)


def test_a_walk_deals_the_layerwise_steps_by_hand() -> None:
    # d = (0.1, 0.2, 0.6): mean 0.3, signals -2/3, -1/3, 1; gain 3 makes the steps of the logarithm -2, -1, 3.
    policy = walk(7, momentum=0.0, gain=3.0, **OPEN)
    records = policy.update([0.1, 0.2, 0.6])
    mean = (math.exp(-2) + math.exp(-1) + math.exp(3)) / 3
    dealt = sorted(policy.multipliers.values())
    assert dealt == pytest.approx([math.exp(-2) / mean, math.exp(-1) / mean, math.exp(3) / mean])
    assert [record.divergence for record in records] == [0.1, 0.2, 0.6], "each where it was measured"
    # Which layer gets which: the places in the order of three numbers of the first step's stream.
    stream = random.Random(derive(7, 0))
    keys = [stream.random() for _ in LAYERS]
    signals = dict(zip(LAYERS, [(-2 / 3, -1 / 3, 1)[keys.index(key)] for key in sorted(keys)], strict=True))
    assert {record.layer: record.momentum for record in records} == pytest.approx(signals)


def test_every_deal_is_equally_likely() -> None:
    counts: dict[tuple[float, ...], int] = {}
    for seed in range(1200):
        policy = walk(seed, momentum=0.0, gain=1.0)
        dealt = tuple(round(record.momentum, 9) for record in policy.update([0.1, 0.2, 0.6]))
        counts[dealt] = counts.get(dealt, 0) + 1
    # 200 expected of each of the six, with a standard deviation of 13.
    assert len(counts) == 6
    assert all(140 <= count <= 260 for count in counts.values())


@given(measured=divergences, seed=st.integers(0, 2**53 - 1))
@settings(max_examples=50, deadline=None)
def test_the_first_step_of_a_walk_is_a_rearranged_layerwise_step(measured: list[float], seed: int) -> None:
    guided, lucky = LayerwisePolicy(LAYERS, gain=0.5), walk(seed, gain=0.5)
    guided.update(measured)
    lucky.update(measured)
    assert sorted(lucky.multipliers.values()) == pytest.approx(sorted(guided.multipliers.values()))


def test_a_walk_takes_the_options_of_the_layerwise_rule_with_its_defaults() -> None:
    options = POLICIES.options("walk")
    assert options.pop("redraw").default == "every"
    assert options == POLICIES.options("layerwise")
    assert WalkPolicy(LAYERS, gain=0.7, interval=3).interval == 3


def test_layers_dealt_once_keep_whom_they_follow() -> None:
    for seed in range(20):
        once, anew = walk(seed, redraw="never", gain=0.5), walk(seed, gain=0.5)
        assert once.update([0.1, 0.2, 0.6]) == anew.update([0.1, 0.2, 0.6]), "the first deal is the same"
        guided = LayerwisePolicy(LAYERS, gain=0.5)
        guided.update([0.1, 0.2, 0.6])
        for _ in range(4):
            once.update([0.1, 0.2, 0.6])
            guided.update([0.1, 0.2, 0.6])
        # The same divergences each time: the same steps as the rule's, on layers that changed places.
        assert sorted(once.multipliers.values()) == pytest.approx(sorted(guided.multipliers.values()))
    assert POLICIES.options("walk")["redraw"].default == "every"


@pytest.mark.parametrize("redraw", ["every", "never"])
def test_a_walk_goes_on_from_its_state(redraw: str) -> None:
    whole, first, second = (walk(5, gain=0.5, redraw=redraw) for _ in range(3))
    history = [[0.1, 0.2, 0.6], [0.3, 0.1, 0.2], [0.5, 0.4, 0.1]]
    for measured in history:
        whole.update(measured)
    first.update(history[0])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for measured in history[1:]:
        second.update(measured)
    assert second.state_dict() == whole.state_dict()


def test_a_replay_by_hand() -> None:
    policy = ReplayPolicy(LAYERS, multipliers=((1.5, 1.0, 0.5), (2.0, 0.75, 0.25)), interval=2)
    assert [epoch for epoch in range(1, 7) if policy.due(epoch, 6)] == [2, 4]
    assert policy.multipliers == {"a": 1.0, "b": 1.0, "c": 1.0}
    assert policy.update([0.1, 0.2, 0.3]) == (
        LayerRecord("a", 0.1, 0.0, 1.5),
        LayerRecord("b", 0.2, 0.0, 1.0),
        LayerRecord("c", 0.3, 0.0, 0.5),
    )
    policy.update([0.9, 0.9, 0.9])
    assert policy.multipliers == {"a": 2.0, "b": 0.75, "c": 0.25}, "whatever was measured"
    policy.update([0.1, 0.1, 0.1])
    assert policy.multipliers == {"a": 2.0, "b": 0.75, "c": 0.25}, "the last ones stay"


def test_a_replay_goes_on_from_its_state() -> None:
    rows = ((1.5, 1.0, 0.5), (2.0, 0.75, 0.25))
    first, second = (ReplayPolicy(LAYERS, multipliers=rows) for _ in range(2))
    first.update([0.1, 0.2, 0.3])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.multipliers == {"a": 1.5, "b": 1.0, "c": 0.5}
    second.update([0.1, 0.2, 0.3])
    assert second.multipliers == {"a": 2.0, "b": 0.75, "c": 0.25}


def test_a_replay_may_be_brought_to_the_base_rate() -> None:
    rows = ((0.25, 0.25, 2.8),)
    kept, scaled = (ReplayPolicy(LAYERS, 0, (1, 1, 2), multipliers=rows, normalise=how) for how in MEANS)
    for policy in (kept, scaled):
        policy.update([0.1, 0.2, 0.3])
    assert kept.multipliers == {"a": 0.25, "b": 0.25, "c": 2.8}
    # the mean parameter: (0.25 + 0.25 + 5.6) / 4
    assert scaled.multipliers == pytest.approx({"a": 0.25 / 1.525, "b": 0.25 / 1.525, "c": 2.8 / 1.525})


def test_a_placebo_by_hand() -> None:
    policy = PlaceboPolicy(LAYERS, 7, (1, 1, 2), size=0.02)
    stream = random.Random(7)
    raw = [math.exp(0.02 * NormalDist().inv_cdf(stream.random())) for _ in LAYERS]
    share = (raw[0] + raw[1] + 2 * raw[2]) / 4
    assert list(policy.multipliers.values()) == pytest.approx([alpha / share for alpha in raw], rel=1e-12)
    assert POLICIES.options("placebo")["size"].default == 0.02
    assert not any(policy.due(epoch, 100) for epoch in range(1, 101)), "nothing is measured"


def test_placebos_are_normal_and_each_seed_draws_its_own() -> None:
    drawn = [PlaceboPolicy(LAYERS, seed, size=0.02, normalise="off").multipliers for seed in range(700)]
    logs = [math.log(alpha) / 0.02 for multipliers in drawn for alpha in multipliers.values()]
    # 2,100 numbers: standard errors 0.022 of the mean, 0.015 of the standard deviation
    assert abs(mean(logs)) < 0.09
    assert stdev(logs) == pytest.approx(1.0, abs=0.06)
    assert len({tuple(multipliers.values()) for multipliers in drawn}) == 700
    assert PlaceboPolicy(LAYERS, 3).multipliers == PlaceboPolicy(LAYERS, 3).multipliers


def test_a_placebo_of_size_zero_is_the_constant_policy() -> None:
    assert PlaceboPolicy(LAYERS, 3, (1, 1, 2), size=0.0).multipliers == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_a_placebo_stays_within_its_bounds() -> None:
    policy = PlaceboPolicy(LAYERS, 3, (1, 1, 2), size=1.0, low=0.9, high=1.1)
    first, second, third = policy.multipliers.values()
    assert first + second + 2 * third == pytest.approx(4.0, abs=1e-9)
    assert {0.9, 1.1} & {first, second, third}
    assert all(0.9 <= alpha <= 1.1 for alpha in (first, second, third))


STUDY = """
name: controls
data: {{name: synthetic}}
teacher: {{model: resnet8, epochs: 1}}
student: {{model: resnet8}}
train: {{epochs: 5, batch_size: 32, base_lr: 0.1}}
arms: {{transfers: [attention], policies: [constant, {policy}]}}
search: {{trials_per_arm: 1}}
"""


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("replay", "policies.replay.multipliers: must list one update for each of the 4 that 5 epoch(s) have, got 0"),
        ("{replay: {interval: 2, multipliers: [[1, 1, 1]]}}", "each of the 2 that 5 epoch(s) have, got 1"),
        ("{replay: {interval: 5, multipliers: [[1, 1, 1]]}}", "policies.replay.interval: no update would ever happen"),
        ("{replay: {multipliers: [[1, 0, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]]}}", "must be greater than 0, got"),
        ("walk", "policies.walk.interval: no update would ever happen in 5 epoch(s), got 25"),
    ],
)  # fmt: skip
def test_check_says_what_is_wrong_with_a_control(policy: str, message: str) -> None:
    with pytest.raises(StudyError) as refusal:
        parse_study(STUDY.format(policy=policy), "controls.yaml")
    assert message in str(refusal.value)


def test_a_walk_of_one_layer_is_refused_by_its_own_name() -> None:
    with pytest.raises(StudyError, match=r"walk\.signal: 'relative' compares layers"):
        WalkPolicy(["a"])
