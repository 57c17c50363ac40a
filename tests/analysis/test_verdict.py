"""The verdict: every word from numbers worked out by hand or by scipy, and what may never change it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kdstudy.analysis.estimates import equivalence_p, estimate
from kdstudy.analysis.looks import looks_p, nominal_level
from kdstudy.analysis.planning import detectable, searches_needed
from kdstudy.analysis.searches import PairedSearches, SearchScores
from kdstudy.analysis.verdict import Judgement, Plan, explore, judge, word

OPPOSITE = {"better": "worse", "better_by_less": "worse_by_less", "worse": "better", "worse_by_less": "better_by_less"}


def searches(*differences: float, seeds: int = 2, **flags: int) -> PairedSearches:
    """One search for each difference; its seeds lie evenly around it."""
    offsets = [0.001 * (seed - (seeds - 1) / 2) for seed in range(seeds)]
    return PairedSearches(
        tuple(
            SearchScores((0.5,) * seeds, tuple(0.5 + difference + offset for offset in offsets))
            for difference in differences
        ),
        **flags,
    )


def only(scores: PairedSearches, **plan: float | None) -> Judgement:
    [judgement] = judge([scores], Plan(**{"searches": scores.count, **plan}))
    return judgement


GAIN = searches(0.03, 0.04, 0.05, 0.035)  # p = 0.0025
TINY = searches(0.0011, 0.0010, 0.0012, 0.0011)
NOTHING = searches(0.002, -0.001, 0.001, -0.002)
WILD = searches(0.1, -0.1, 0.05, -0.02)


@pytest.mark.parametrize(
    ("scores", "smallest", "verdict"),
    [
        (GAIN, None, "better"),
        (GAIN, 0.01, "better"),
        (GAIN, 0.2, "better_by_less"),
        (searches(-0.03, -0.04, -0.05, -0.035), None, "worse"),
        (searches(-0.03, -0.04, -0.05, -0.035), 0.2, "worse_by_less"),
        (TINY, 0.01, "better_by_less"),
        (NOTHING, None, "inconclusive"),
        (NOTHING, 0.01, "no_difference"),
        (NOTHING, 0.001, "inconclusive"),
        (WILD, 0.01, "inconclusive"),
        (searches(0.0, 0.0, 0.0), None, "inconclusive"),
        (searches(0.0, 0.0, 0.0), 0.01, "no_difference"),
        (searches(0.01, 0.01, 0.01), None, "inconclusive"),
        (searches(0.01, 0.01, 0.01), 0.2, "inconclusive"),
        (searches(0.03, 0.04), None, "no_verdict"),
        (searches(0.03), None, "configurations_differ"),  # seeds 0.0295, 0.0305: t = 60, p = 0.0106
        (searches(0.0), None, "not_told_apart"),
        (searches(0.03, seeds=1), None, "no_verdict"),
        (searches(), None, "no_verdict"),
    ],
)
def test_every_word(scores: PairedSearches, smallest: float | None, verdict: str) -> None:
    declared = max(scores.count, 1)
    assert only(scores, searches=declared, smallest=smallest).verdict == verdict


def test_the_numbers_of_a_judgement() -> None:
    found = only(GAIN, smallest=0.01)
    test = stats.ttest_1samp([0.03, 0.04, 0.05, 0.035], 0.0)
    interval = test.confidence_interval(0.95)
    assert found.estimate.mean == pytest.approx(0.155 / 4)
    assert (found.estimate.ci_low, found.estimate.ci_high) == pytest.approx((interval.low, interval.high))
    assert found.p_value == found.p_adjusted == pytest.approx(test.pvalue)
    assert found.effect_size == pytest.approx(test.statistic / 2)
    assert (found.baseline_mean, found.treatment_mean) == pytest.approx((0.5, 0.53875))
    # Squared deviations from 0.03875 in units of 1e-5: 7.65625 + 0.15625 + 12.65625 + 1.40625 = 21.875; / 3; its root.
    assert (found.baseline_sd, found.treatment_sd) == pytest.approx((0.0, math.sqrt(21.875e-5 / 3)))
    assert (found.scores.won, found.scores.count, found.unit) == (4, 4, "search")
    above = stats.ttest_1samp([0.03, 0.04, 0.05, 0.035], 0.01, alternative="less").pvalue
    assert found.p_no_difference == found.p_no_difference_adjusted == pytest.approx(above)
    assert found.detectable == pytest.approx(detectable(4, found.estimate.sd, 0.05))
    assert found.searches_needed == searches_needed(0.01, found.estimate.sd, 0.05) == 8
    assert found.search_share == pytest.approx(1 - 0.5e-6 / 2 / (21.875e-5 / 3))
    assert found.advice.startswith("about 100 % of the variance is the luck of the search")


def test_one_search_is_judged_by_its_seeds() -> None:
    one = PairedSearches((SearchScores((0.90, 0.92, 0.91), (0.93, 0.93, 0.95)),))
    found = only(one)
    assert found.p_value == pytest.approx(0.094178, abs=1e-6)  # tests/analysis/test_estimates.py has it on paper
    assert (found.unit, found.verdict) == ("seed", "not_told_apart")
    assert (found.effect_size, found.baseline_sd, found.luck, found.p_no_difference) == (None,) * 4
    assert only(one, smallest=0.5).p_no_difference is None
    assert "two configurations" in found.advice


def test_a_family_is_corrected_together_and_each_kind_of_claim_by_itself() -> None:
    family = [GAIN, WILD, NOTHING, searches(0.01, 0.01, 0.01, 0.01)]
    found = judge(family, Plan(4, smallest=0.01))
    p = [one.p_value for one in found]
    assert p[3] is None
    assert found[0].p_adjusted == pytest.approx(4 * p[0])  # the comparison without a test counts
    assert found[2].p_no_difference_adjusted == pytest.approx(4 * found[2].p_no_difference)
    assert [one.verdict for one in found] == ["better", "inconclusive", "no_difference", "inconclusive"]
    assert found[0].detectable == pytest.approx(detectable(4, found[0].estimate.sd, 0.05 / 4))
    many = judge([GAIN, *[WILD] * 29], Plan(4))
    assert many[0].verdict == "inconclusive"  # 30 * 0.0025 > 0.05


@pytest.mark.parametrize("flags", [{"failed": 1}, {"unpicked": 1}])
def test_a_failed_run_or_a_missing_pick_blocks_the_verdict_and_keeps_the_numbers(flags: dict[str, int]) -> None:
    blocked = only(searches(0.03, 0.04, 0.05, 0.035, **flags))
    assert blocked.verdict == "no_verdict"
    assert blocked.p_adjusted == only(GAIN).p_adjusted
    assert only(searches(0.03, **flags)).verdict == "no_verdict"


def test_fewer_searches_than_declared_have_no_verdict_yet() -> None:
    assert only(GAIN, searches=5).verdict == "no_verdict"
    assert only(searches(0.03), searches=3).verdict == "no_verdict"


def test_more_searches_than_declared_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="4 searches, of which 3 were declared"):
        only(GAIN, searches=3)
    assert only(GAIN, searches=3, at_most=4).verdict == "better"


def test_with_declared_looks_every_p_is_that_of_any_look() -> None:
    plan = Plan(3, at_most=8, smallest=0.1)
    [found] = judge([GAIN], plan)
    assert found.p_value == pytest.approx(looks_p(found.estimate.p_value, 3, 8))
    nominal = equivalence_p(found.estimate, 0.1)
    assert found.p_no_difference == pytest.approx(looks_p(nominal, 3, 8, "one_sided"))
    assert found.detectable == pytest.approx(detectable(4, found.estimate.sd, nominal_level(0.05, 3, 8)))
    # One search, from which a study with looks may start, is judged by its seeds, once.
    [single] = judge([searches(0.03)], Plan(1, at_most=8))
    assert single.p_value == single.estimate.p_value
    assert single.verdict == "configurations_differ"
    assert judge([searches(0.03, 0.031)], Plan(1, at_most=8))[0].verdict == "no_verdict"


def first_verdicts(plan: Plan, drawn: np.ndarray) -> list[str]:
    """The words of a user who adds searches one by one and stops at the first that tells him something."""
    words = []
    for path in drawn:
        for n in range(plan.searches, plan.declared + 1):
            found = estimate(list(path[:n]))
            same = None if plan.smallest is None else equivalence_p(found, plan.smallest)
            said = word(found.mean, plan.p(found.p_value, n), plan.p(same, n, two_sided=False))
            if said != "inconclusive":
                break
        words.append(said)
    return words


def test_who_stops_when_he_likes_is_wrong_in_one_study_of_twenty_at_most() -> None:
    drawn = np.random.default_rng(5).normal(0, 0.02, (1_500, 8))
    wrong = np.mean([said != "inconclusive" for said in first_verdicts(Plan(4, at_most=8), drawn)])
    assert wrong == pytest.approx(0.05, abs=0.0225)  # four standard errors; without the table 0.12
    # A true difference of exactly the margin: "no difference larger" is wrong.
    at_margin = first_verdicts(Plan(4, at_most=8, smallest=0.03), drawn[:1_000] + 0.03)
    assert np.mean([said in ("no_difference", "better_by_less") for said in at_margin]) <= 0.05 + 0.0276


def test_a_treatment_that_diverged_twice_is_not_better() -> None:
    # Treatment + 1 point in three searches, at chance (0.1) in two: found "better" where those were left out.
    alive = [SearchScores((0.6, 0.601), (0.61, 0.612)) for _ in range(3)]
    lost = [SearchScores((0.602, 0.6), (0.1, 0.1)) for _ in range(2)]
    found = only(PairedSearches((*alive, *lost)))
    assert found.estimate.mean < 0
    assert found.verdict == "inconclusive"


def test_an_exploratory_comparison_has_its_p_unadjusted_and_no_verdict() -> None:
    found = explore(GAIN)
    assert found.p_value == pytest.approx(only(GAIN).p_value)
    assert (found.p_adjusted, found.verdict) == (None, "no_verdict")
    assert explore(searches()).p_value is None


@pytest.mark.parametrize(
    ("difference", "p", "small", "expected"),
    [
        (0.1, 0.0499, None, "better"),
        (0.1, 0.05, None, "inconclusive"),
        (-0.1, 0.0499, 0.0499, "worse_by_less"),
        (-0.1, 0.0499, 0.05, "worse"),
        (0.1, 0.05, 0.0499, "no_difference"),
        (0.1, None, None, "inconclusive"),
        (0.1, math.nan, math.nan, "inconclusive"),
    ],
)
def test_the_word_at_its_bounds(difference: float, p: float | None, small: float | None, expected: str) -> None:
    assert word(difference, p, small) == expected


score = st.integers(0, 1000).map(lambda right: right / 1000)
scores_of = st.integers(1, 3).flatmap(
    lambda seeds: st.lists(
        st.lists(st.tuples(score, score), min_size=seeds, max_size=seeds),
        min_size=1,
        max_size=6,
    )
)


def paired(pairs: Sequence[Sequence[tuple[float, float]]], *, swap: bool = False) -> PairedSearches:
    order = (1, 0) if swap else (0, 1)
    return PairedSearches(
        tuple(SearchScores(*(tuple(pair[arm] for pair in search) for arm in order)) for search in pairs)
    )


@given(scores_of)
@settings(max_examples=60, deadline=None)
def test_exchanging_the_arms_turns_the_verdict(pairs: list[list[tuple[float, float]]]) -> None:
    one, other = (only(paired(pairs, swap=swap), smallest=0.2) for swap in (False, True))
    assert other.verdict == OPPOSITE.get(one.verdict, one.verdict)
    assert other.estimate.mean == -one.estimate.mean
    assert (other.p_value, other.p_no_difference) == (one.p_value, one.p_no_difference)
    assert (other.advice, other.search_share) == (one.advice, one.search_share)
    assert (other.baseline_mean, other.baseline_sd) == (one.treatment_mean, one.treatment_sd)
    assert one.scores.won + other.scores.won + sum(d == 0 for d in one.scores.differences) == len(pairs)


@given(scores_of, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_searches_and_seeds_changes_nothing(
    pairs: list[list[tuple[float, float]]], random: object
) -> None:
    shuffled = [random.sample(search, len(search)) for search in pairs]
    random.shuffle(shuffled)
    one, other = (only(paired(each), smallest=0.2) for each in (pairs, shuffled))
    assert other.estimate == one.estimate
    assert (other.verdict, other.p_no_difference, other.advice) == (one.verdict, one.p_no_difference, one.advice)
    assert (other.baseline_mean, other.treatment_sd) == (one.baseline_mean, one.treatment_sd)


def test_the_order_of_the_family_changes_nothing() -> None:
    family = [GAIN, WILD, NOTHING]
    forth, back = judge(family, Plan(4, smallest=0.01)), judge(family[::-1], Plan(4, smallest=0.01))
    assert forth == back[::-1]


@pytest.mark.parametrize(
    "plan",
    [{"searches": 0}, {"searches": 5, "at_most": 4}, {"searches": 5, "at_most": 40}, {"searches": 5, "smallest": 0.0}],
)
def test_a_plan_out_of_its_ranges_is_a_mistake(plan: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"at_most|searches|smallest"):
        Plan(**plan)
