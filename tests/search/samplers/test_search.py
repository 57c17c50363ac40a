"""Samplers at work: those that learn find the good region, the grid visits everything."""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from typing import Any

import pytest

from kdstudy.plugins import SAMPLERS
from kdstudy.search.samplers import PastTrial, Sampler, propose
from kdstudy.search.samplers.grid import GridSampler
from kdstudy.search.samplers.tpe import TPESampler
from kdstudy.study import Choice, Int, Log, Range
from kdstudy.study.space import Uniform

SPACE: dict[str, Range] = {"rate": Log(1e-4, 1), "weight": Log(1, 1000), "form": Choice(("good", "bad"))}


def score(values: dict[str, Any]) -> float:
    """Best at rate 0.1 and weight 30, half as good with the bad form."""
    distance = (math.log10(values["rate"]) + 1) ** 2 + (math.log10(values["weight"]) - 1.5) ** 2
    return math.exp(-distance) * (1 if values["form"] == "good" else 0.5)


def search(sampler: Sampler, trials: int, seed: int, lag: int = 1) -> list[PastTrial]:
    seen: list[PastTrial] = []
    for index in range(trials):
        visible = seen[: max(0, index - lag + 1)]
        values = propose(sampler, SPACE, visible, arm="kd/constant", index=index, startup=6, seed=seed)
        seen.append(PastTrial(values, "completed", score(values)))
    return seen


def late_mean(name: str, lag: int = 1) -> float:
    """Mean score of trials 20 to 39, over three seeds."""
    scores = [trial.score for seed in range(3) for trial in search(SAMPLERS.load(name)(), 40, seed, lag)[20:]]
    return sum(scores) / len(scores)


def test_learning_samplers_beat_random_search() -> None:
    chance = late_mean("random")
    assert late_mean("tpe") > 2 * chance
    assert late_mean("tpe", lag=4) > 1.5 * chance
    assert late_mean("cmaes") > 1.5 * chance


def test_tpe_keeps_away_from_where_trials_diverge() -> None:
    space: dict[str, Range] = {"rate": Log(1e-4, 1)}
    late: list[str] = []
    for seed in range(3):
        seen: list[PastTrial] = []
        for index in range(40):
            values = TPESampler().propose(space, seen, index=index, seed=seed)
            diverged = values["rate"] > 0.01  # half of the draws of a random search
            seen.append(PastTrial(values, *(("diverged",) if diverged else ("completed", 0.5))))
        late += [trial.state for trial in seen[20:]]
    assert late.count("diverged") < len(late) / 3


def test_tpe_repeats_a_search_from_any_point() -> None:
    whole = search(TPESampler(), 14, seed=1)
    for index in (6, 9, 13):
        again = propose(TPESampler(), SPACE, whole[:index], arm="kd/constant", index=index, startup=6, seed=1)
        assert again == whole[index].values


def test_tpe_leaves_optunas_logging_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    logger = logging.getLogger("optuna.storages._in_memory")
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.INFO, logger="optuna")
    optuna.logging.enable_propagation()
    try:
        for index in range(3):
            TPESampler().propose(SPACE, [], index=index, seed=0)
        assert not caplog.records
        optuna.create_study(study_name="someone-elses")
        assert {record.name for record in caplog.records} == {logger.name}
    finally:
        optuna.logging.disable_propagation()
    assert optuna.logging.get_verbosity() in {before, logging.INFO} and len(logger.filters) == 1


def test_grid_visits_every_combination_once_a_round() -> None:
    space: dict[str, Range] = {"a": Int(1, 3), "b": Choice(("x", {"y": 1})), "c": Choice((0.1, 0.2))}
    visited = [GridSampler().propose(space, [], index=index, seed=8) for index in range(36)]
    expected = {
        str(dict(zip(space, values, strict=True)))
        for values in itertools.product((1, 2, 3), ("x", {"y": 1}), (0.1, 0.2))
    }
    assert Counter(map(str, visited)) == dict.fromkeys(expected, 3)
    assert visited[:12] == visited[12:24] == visited[24:]
    assert visited[:12] != [GridSampler().propose(space, [], index=index, seed=9) for index in range(12)]


def test_a_small_part_of_a_huge_grid_is_quick_and_without_repeats() -> None:
    space: dict[str, Range] = {"a": Int(0, 10**9), "b": Int(0, 10**9)}
    visited = [GridSampler().propose(space, [], index=index, seed=0) for index in range(50)]
    assert len(set(map(str, visited))) == 50


def test_grid_refuses_real_numbers() -> None:
    with pytest.raises(ValueError, match=r"a: the grid sampler needs int or choice, got \{uniform"):
        GridSampler().propose({"a": Uniform(0, 1)}, [], index=0, seed=0)
