"""What every sampler promises."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Mapping
from typing import Any, ClassVar

from kdstudy.plugins import SAMPLERS
from kdstudy.search import PastTrial, Sampler, propose, startup_values
from kdstudy.study import Choice, Int, Log, Range, Uniform

COUNTABLE: dict[str, Range] = {"b": Int(-2, 3), "c": Choice(("x", {"y": {"z": 1}}, [1, 2], None))}
SPACE: dict[str, Range] = {"a": Log(1e-3, 1), **COUNTABLE, "d": Uniform(-0.5, 0.5)}


def history(space: Mapping[str, Range], count: int) -> list[PastTrial]:
    """Return trials of every state, with values that came back from JSON."""
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


class SamplerSuite:
    """Tests of one sampler; derive from it and set `plugin`.

    Attributes:
        plugin: Registered name, or ``package.module:Name``.
        options: Options the sampler is built with, where its defaults do not do.
        space: Ranges it is asked about; those of `COUNTABLE` for one that needs ranges which can be counted.
    """

    plugin: str
    options: ClassVar[dict[str, Any]] = {}
    space: ClassVar[dict[str, Range]] = SPACE

    def make(self) -> Sampler:
        """Return the sampler."""
        sampler = SAMPLERS.load(self.plugin)(**self.options)
        assert isinstance(sampler, Sampler)
        return sampler

    def test_values_lie_in_the_space_whatever_was_seen(self) -> None:
        """Every range gets one of its values, as plain JSON."""
        for count in (0, 1, 2, 9, 30):
            values = self.make().propose(self.space, history(self.space, count), index=count, seed=5)
            assert list(values) == list(self.space)
            assert all(span.contains(values[path]) for path, span in self.space.items())
            assert json.loads(json.dumps(values)) == values

    def test_trials_at_the_very_ends_can_be_seen(self) -> None:
        """Both ends of a range belong to it."""
        ends = [{path: span.ends()[which] for path, span in self.space.items()} for which in (0, -1)]
        seen = [PastTrial(values, "completed", 0.5) for values in ends] * 6
        values = self.make().propose(self.space, seen, index=12, seed=0)
        assert all(span.contains(values[path]) for path, span in self.space.items())

    def test_a_proposal_is_a_function_of_its_arguments_alone(self) -> None:
        """No state, no global random stream: that is what lets a study be resumed anywhere."""
        seen = history(self.space, 20)
        before = copy.deepcopy(seen)
        first, other = self.make(), self.make()
        expected = first.propose(self.space, seen, index=20, seed=5)
        other.propose(self.space, seen[:7], index=7, seed=6)
        random.random()
        assert other.propose(self.space, seen, index=20, seed=5) == expected
        assert seen == before

    def test_index_and_seed_each_change_the_proposals(self) -> None:
        """Two trials of an arm, and two studies, do not try the same values."""

        def proposals(seed: int) -> list[str]:
            sampler = self.make()
            return [json.dumps(sampler.propose(self.space, [], index=index, seed=seed)) for index in range(8)]

        assert len(set(proposals(0))) > 4
        assert proposals(0) != proposals(1)

    def test_an_arm_without_ranges_has_nothing_to_propose(self) -> None:
        """An arm may search nothing."""
        assert self.make().propose({}, [PastTrial({}, "completed", 0.5)], index=1, seed=0) == {}

    def test_only_choices_can_be_proposed(self) -> None:
        """A space may hold choices alone."""
        space: dict[str, Range] = {"c": COUNTABLE["c"]}
        assert COUNTABLE["c"].contains(self.make().propose(space, history(space, 12), index=12, seed=0)["c"])

    def test_startup_ignores_history_where_the_sampler_learns(self) -> None:
        """The first trials of an arm are random, or no function of results at all."""
        sampler, seen = self.make(), history(self.space, 12)
        alone = propose(sampler, self.space, [], arm="kd/constant", index=2, startup=3, seed=0)
        assert propose(sampler, self.space, seen, arm="kd/constant", index=2, startup=3, seed=0) == alone
        if sampler.learns:
            assert alone == startup_values(self.space, seed=0, transfer="kd", index=2)
