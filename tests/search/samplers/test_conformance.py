"""How the random trials at an arm's start are shared between arms, for every registered sampler.

What else a sampler promises is in `kdstudy.testing.SamplerSuite`, which tests/testing runs over all of them.
"""

from __future__ import annotations

import pytest

from kdstudy.plugins import SAMPLERS
from kdstudy.search.samplers import PastTrial, Sampler, propose, startup_values
from kdstudy.study import Int, Range
from kdstudy.study.space import Uniform
from kdstudy.testing.samplers import COUNTABLE, SPACE


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
