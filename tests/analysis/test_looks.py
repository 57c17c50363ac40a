"""The table of looks, against simulations that share no code with the one that made it."""

from __future__ import annotations

import json
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdstudy.analysis import looks
from kdstudy.analysis.looks import FIRST_LOOK, LAST_LOOK, looks_p, looks_problem, nominal_level

TABLE = json.loads((Path(looks.__file__).parent / "looks.json").read_text(encoding="utf-8"))
ranges = st.tuples(st.integers(1, LAST_LOOK), st.integers(3, LAST_LOOK)).map(sorted)
probability = st.floats(0, 1)


def smallest_p(paths: int, first: int, last: int, seed: int, alternative: str = "two-sided") -> np.ndarray:
    """The smallest p of each path without a difference, every look tested from scratch."""
    drawn = np.random.Generator(np.random.MT19937(seed)).standard_normal((paths, last))
    every = [
        stats.ttest_1samp(drawn[:, :n], 0.0, axis=1, alternative=alternative).pvalue for n in range(first, last + 1)
    ]
    return np.min(every, axis=0)


@pytest.mark.parametrize(("first", "last"), [(3, 4), (3, 6), (5, 12), (8, 20), (3, 20)])
def test_an_independent_simulation_finds_the_same_chances(first: int, last: int) -> None:
    paths = 60_000
    found = smallest_p(paths, first, last, seed=first * last)
    for p in (0.002, 0.0125, 0.03, 0.05, 0.15, 0.4):
        chance = np.mean(found <= p)
        assert looks_p(p, first, last) == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / paths))


@pytest.mark.parametrize(("first", "last"), [(3, 6), (4, 12)])
def test_an_independent_simulation_finds_the_same_one_sided_chances(first: int, last: int) -> None:
    paths = 60_000
    found = smallest_p(paths, first, last, seed=7 * first, alternative="greater")
    for p in (0.002, 0.0125, 0.05, 0.3, 0.6):
        chance = np.mean(found <= p)
        assert looks_p(p, first, last, "one_sided") == pytest.approx(
            chance, abs=4 * np.sqrt(chance * (1 - chance) / paths)
        )


@pytest.mark.parametrize(
    ("first", "last", "at_5_percent", "at_1_percent_and_a_quarter"),
    # From the review of the method: 500,000 paths, another program; its quantiles are good to 2 and 4 %.
    [
        (3, 6, 0.0190, 0.0041),
        (4, 8, 0.0181, 0.0039),
        (4, 12, 0.0126, 0.0026),
        (6, 12, 0.0172, 0.0037),
        (8, 16, 0.0164, 0.0035),
    ],
)
def test_the_levels_of_each_look_are_those_of_the_review(
    first: int, last: int, at_5_percent: float, at_1_percent_and_a_quarter: float
) -> None:
    assert nominal_level(0.05, first, last) == pytest.approx(at_5_percent, rel=0.02)
    assert nominal_level(0.0125, first, last) == pytest.approx(at_1_percent_and_a_quarter, rel=0.04)


@given(probability, st.integers(1, LAST_LOOK))
def test_one_look_changes_nothing(p: float, searches: int) -> None:
    assert looks_p(p, searches, max(searches, FIRST_LOOK)) == p


@given(probability, probability, ranges)
def test_the_chance_rises_with_p_and_lies_between_p_and_that_of_separate_looks(
    one: float, other: float, ends: list[int]
) -> None:
    first, last = ends
    low, high = sorted((one, other))
    for sides in ("two_sided", "one_sided"):
        chance = looks_p(low, first, last, sides)
        assert low <= chance <= min(1.0, (last - max(first, FIRST_LOOK) + 1) * low)
        assert chance <= looks_p(high, first, last, sides)


@given(st.floats(1e-6, 0.999), ranges)
def test_more_looks_cost_more(p: float, ends: list[int]) -> None:
    first, last = ends
    if last < LAST_LOOK:
        assert looks_p(p, first, last) <= looks_p(p, first, last + 1) * (1 + 1e-3)  # digits of the table


@given(st.floats(1e-4, 0.9), ranges)
def test_the_level_of_a_look_is_the_inverse(level: float, ends: list[int]) -> None:
    nominal = nominal_level(level, *ends)
    assert nominal <= level * (1 + 1e-8)
    assert looks_p(nominal, *ends) == pytest.approx(level, rel=1e-6)


def test_with_one_or_two_searches_looks_begin_at_the_third() -> None:
    assert looks_p(0.01, 1, 8) == looks_p(0.01, 2, 8) == looks_p(0.01, 3, 8) > looks_p(0.01, 4, 8)


def test_the_table_is_whole_and_rises() -> None:
    wanted = {f"{first}..{last}" for first, last in combinations(range(FIRST_LOOK, LAST_LOOK + 1), 2)}
    for sides in ("two_sided", "one_sided"):
        assert {*TABLE[sides]} == wanted
        for chances in TABLE[sides].values():
            assert all(low <= high for low, high in pairwise(chances))
            assert chances[-1] == TABLE["levels"][-1] == 1
    assert TABLE["paths"] == 50_000_000


@pytest.mark.parametrize(
    ("searches", "at_most", "problem"),
    [
        (5, 5, None),
        (3, 20, None),
        (1, 3, None),
        (5, 4, "must be from 5 (confirm.searches) to 20 searches, got 4; write for example 20"),
        (1, 2, "must be from 3 (the fewest for a verdict) to 20 searches, got 2; write for example 20"),
        (5, 21, "must be from 5 (confirm.searches) to 20 searches, got 21; write for example 20"),
        (
            21,
            30,
            "goes with at most 20 searches, got 21; leave at_most out: so many searches are judged once, when all are "
            "done",
        ),
    ],
)
def test_what_the_table_does_not_know_is_said(searches: int, at_most: int, problem: str | None) -> None:
    assert looks_problem(searches, at_most) == problem
    if problem:
        with pytest.raises(ValueError, match="at_most"):
            looks_p(0.5, searches, at_most)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_a_mistake(p: float) -> None:
    with pytest.raises(ValueError, match="no p value"):
        looks_p(p, 3, 6)
