"""What every registered sampler promises."""

from __future__ import annotations

import copy
import json
import random

import pytest

from kdstudy.plugins import SAMPLERS
from kdstudy.search.samplers import PastTrial, Sampler, propose, startup_values
from kdstudy.study import Choice, Int, Log, Range
from kdstudy.study.space import Uniform

COUNTABLE: dict[str, Range] = {"b": Int(-2, 3), "c": Choice(("x", {"y": {"z": 1}}, [1, 2], None))}
SPACE: dict[str, Range] = {"a": Log(1e-3, 1), **COUNTABLE, "d": Uniform(-0.5, 0.5)}


@pytest.fixture(params=list(SAMPLERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sampler(name: str) -> Sampler:
    made = SAMPLERS.load(name)()
    assert isinstance(made, Sampler)
    return made


@pytest.fixture
def space(name: str) -> dict[str, Range]:
    return COUNTABLE if name == "grid" else SPACE


def history(space: dict[str, Range], count: int) -> list[PastTrial]:
    """Trials of every kind, with values that came back from JSON."""
    rng = random.Random(7)
    trials = []
    for index in range(count):
        values = json.loads(json.dumps({path: span.at(rng.random()) for path, span in space.items()}))
        if index % 5 == 3:
            trials.append(PastTrial(values, "stopped", 0.3, {1: 0.2, 2: 0.3}))
        elif index % 5 == 4:
            trials.append(PastTrial(values, "diverged", None, {1: 0.1} if index % 2 else {}))
        else:
            score = rng.random()
            trials.append(PastTrial(values, "completed", score, {1: score / 2, 2: score}))
    return trials


def test_values_lie_in_the_space_whatever_was_seen(sampler: Sampler, space: dict[str, Range]) -> None:
    for count in (0, 1, 2, 9, 30):
        values = sampler.propose(space, history(space, count), index=count, seed=5)
        assert list(values) == list(space)
        assert all(span.contains(values[path]) for path, span in space.items())
        assert json.loads(json.dumps(values)) == values


def test_trials_at_the_very_ends_can_be_seen(sampler: Sampler, space: dict[str, Range]) -> None:
    ends = [{path: span.ends()[which] for path, span in space.items()} for which in (0, -1)]
    seen = [PastTrial(values, "completed", 0.5) for values in ends] * 6
    values = sampler.propose(space, seen, index=12, seed=0)
    assert all(span.contains(values[path]) for path, span in space.items())


def test_a_proposal_is_a_function_of_its_arguments_alone(name: str, space: dict[str, Range]) -> None:
    seen = history(space, 20)
    before = copy.deepcopy(seen)
    first, other = (SAMPLERS.load(name)() for _ in range(2))
    expected = first.propose(space, seen, index=20, seed=5)
    other.propose(space, seen[:7], index=7, seed=6)
    random.random()
    assert other.propose(space, seen, index=20, seed=5) == expected
    assert seen == before


def test_index_and_seed_each_change_the_proposals(sampler: Sampler, space: dict[str, Range]) -> None:
    def proposals(seed: int) -> list[str]:
        return [json.dumps(sampler.propose(space, [], index=index, seed=seed)) for index in range(8)]

    assert len(set(proposals(0))) > 4
    assert proposals(0) != proposals(1)


def test_an_arm_without_ranges_has_nothing_to_propose(sampler: Sampler) -> None:
    assert sampler.propose({}, [PastTrial({}, "completed", 0.5)], index=1, seed=0) == {}


def test_only_choices_can_be_proposed(sampler: Sampler) -> None:
    space: dict[str, Range] = {"c": COUNTABLE["c"]}
    assert COUNTABLE["c"].contains(sampler.propose(space, history(space, 12), index=12, seed=0)["c"])


def test_startup_ignores_history_where_the_sampler_learns(sampler: Sampler, space: dict[str, Range]) -> None:
    seen = history(space, 12)
    alone = propose(sampler, space, [], arm="kd/constant", index=2, startup=3, seed=0)
    assert propose(sampler, space, seen, arm="kd/constant", index=2, startup=3, seed=0) == alone
    if sampler.learns:
        assert alone == startup_values(space, seed=0, transfer="kd", index=2)


def test_startup_is_shared_by_the_arms_of_one_transfer(sampler: Sampler, space: dict[str, Range], name: str) -> None:
    more: dict[str, Range] = {"arms.policies.layerwise.gain": Int(0, 9), **space}
    for index in range(3):
        constant, layerwise, other = (
            propose(sampler, spans, [], arm=arm, index=index, startup=3, seed=4)
            for spans, arm in ((space, "kd/constant"), (more, "kd/layerwise"), (space, "sp/constant"))
        )
        if name != "grid":  # a grid of more dimensions is another grid
            assert constant == {path: layerwise[path] for path in space}
        assert constant != other or name == "grid"


def test_random_startup_values_of_a_path_do_not_depend_on_the_others() -> None:
    alone = startup_values({"a": SPACE["a"]}, seed=3, transfer="kd", index=1)
    assert startup_values(SPACE, seed=3, transfer="kd", index=1)["a"] == alone["a"]


def test_startup_values_fill_the_range() -> None:
    span = {"a": Uniform(0, 1)}
    drawn = sorted(startup_values(span, seed=0, transfer="kd", index=index)["a"] for index in range(400))
    # Kolmogorov-Smirnov at 1 %: 1.63 / sqrt(n)
    assert max(abs(value - (rank + 0.5) / 400) for rank, value in enumerate(drawn)) < 1.63 / 20


def test_score_of_an_observation() -> None:
    assert PastTrial({}, "completed", 0.9, {1: 0.1}).score == 0.9
    assert PastTrial({}, "stopped", None, {2: 0.4, 1: 0.8}).score == 0.4
    assert PastTrial({}, "stopped").score == 0
    assert PastTrial({}, "diverged", 0.9, {1: 0.9}).score == 0
