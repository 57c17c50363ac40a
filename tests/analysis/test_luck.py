"""Where the variance comes from: a case on paper, a simulation with known parts, and what is advised."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdstudy.analysis.estimates import estimate
from kdstudy.analysis.luck import Luck, advice, half_width, luck
from kdstudy.analysis.searches import PairedSearches, SearchScores


def searches(*differences: tuple[float, ...], base: float = 0.5) -> PairedSearches:
    """One search for each tuple of differences, one for each seed."""
    return PairedSearches(
        tuple(SearchScores((base,) * len(seeds), tuple(base + seed for seed in seeds)) for seeds in differences),
        unequal_seeds=len({len(seeds) for seeds in differences}) > 1,
    )


PAPER = searches((0.0, 0.02), (0.04, 0.06), (-0.02, 0.0), (0.02, 0.04))


def test_the_parts_computed_on_paper() -> None:
    # Within every search the variance is 2 * 0.01^2 = 0.0002 = msw. d_r = 0.01, 0.05, -0.01, 0.03: mean 0.02, squared
    # deviations 0.0001 + 0.0009 + 0.0009 + 0.0001 = 0.002, variance 0.002 / 3. tau2 = 0.002 / 3 - 0.0001 = 0.0017 / 3.
    parts = luck(PAPER)
    assert parts.variance == pytest.approx(0.002 / 3)
    assert parts.msw == pytest.approx(0.0002)
    assert parts.tau2 == pytest.approx(0.0017 / 3)
    assert parts.search_share == pytest.approx(0.85)
    # t(0.975, 3) = 3.182446, t(0.975, 7) = 2.364624.
    assert parts.half_width() == pytest.approx(3.182446 * math.sqrt(0.002 / 3 / 4), rel=1e-6)
    assert parts.half_width(more_searches=4) == pytest.approx(2.364624 * math.sqrt(0.002 / 3 / 8), rel=1e-6)
    assert parts.half_width(more_seeds=2) == pytest.approx(3.182446 * math.sqrt((0.0017 / 3 + 0.00005) / 4), rel=1e-6)


def test_the_advice_on_it() -> None:
    # The half widths above: 0.041085, 0.021586 and 0.039514.
    text = (
        "about 80 % of the variance is the luck of the search: 4 more searches would narrow the interval from +-4.1 to "
        "+-2.2 points, 2 more seeds per search to +-4.0"
    )
    assert advice(PAPER) == advice(PAPER, 8) == text
    assert advice(PAPER, 7) == f"{text} (searches beyond the 7 that the study declared are exploratory)"


def test_seeds_that_explain_everything() -> None:
    # d_r = 0, 0, 0, 0.01: variance 0.000025. msw = 2 * 0.05^2 = 0.005, over 2 seeds 0.0025, more than that: tau2 = 0.
    scores = searches((-0.05, 0.05), (0.05, -0.05), (-0.05, 0.05), (-0.04, 0.06))
    parts = luck(scores)
    assert parts.tau2 == parts.search_share == 0
    # Expected from the seeds: 3.182446 * sqrt(0.0025 / 4) = 0.0796; 2.364624 * sqrt(0.0025 / 8) = 0.0418; with four
    # seeds 0.0796 / sqrt(2) = 0.0563.
    assert advice(scores) == (
        "the seeds explain all of the variance, an interval of +-8.0 points is to be expected: 4 more searches would "
        "narrow it to +-4.2, 2 more seeds per search to +-5.6"
    )


@given(st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), min_size=4, max_size=9))
def test_with_nothing_more_the_interval_is_the_present_one(thousandths: list[tuple[int, int]]) -> None:
    scores = searches(*(tuple(seed / 1000 for seed in seeds) for seeds in thousandths))
    parts, found = luck(scores), estimate(scores.differences)
    if parts.search_share is None:
        assert not found.sd
        return
    assert 0 <= parts.search_share <= 1
    if parts.tau2:
        assert parts.half_width() == pytest.approx((found.ci_high - found.ci_low) / 2)
    else:
        assert parts.half_width() >= (found.ci_high - found.ci_low) / 2 - 1e-12
    assert parts.half_width(more_searches=4) < parts.half_width()
    assert parts.half_width(more_seeds=2) <= parts.half_width()


def test_the_parts_of_a_simulation_are_found() -> None:
    # tau2 = 4, msw = 6, S = 3; the moment estimates are unbiased but for the cut at 0, which 40 searches never meet.
    rng = np.random.default_rng(0)
    drawn = 0.001 * (rng.normal(0, 2, (300, 40, 1)) + rng.normal(0, math.sqrt(6), (300, 40, 3)))
    parts = [luck(searches(*map(tuple, study))) for study in drawn]
    assert np.mean([one.tau2 for one in parts]) == pytest.approx(4e-6, rel=0.06)  # four standard errors
    assert np.mean([one.msw for one in parts]) == pytest.approx(6e-6, rel=0.04)
    assert np.mean([one.search_share for one in parts]) == pytest.approx(4 / 6, abs=0.03)


def test_searches_of_unequal_seeds_count_alike() -> None:
    # Variances over seeds: 0.0002, none, 0.0002 and (three seeds 0, 0.02, 0.04) 0.0004: msw = 0.0008 / 3; the mean of
    # 1 / S_r is (1/2 + 1 + 1/2 + 1/3) / 4 = 7 / 12. d_r = 0.01, 0.05, -0.01, 0.02: mean 0.0175, sum of squares 0.0031,
    # variance (0.0031 - 4 * 0.0175^2) / 3 = 0.000625.
    scores = searches((0.0, 0.02), (0.05,), (-0.02, 0.0), (0.0, 0.02, 0.04))
    parts = luck(scores)
    assert parts.msw == pytest.approx(0.0008 / 3)
    assert parts.tau2 == pytest.approx(0.000625 - 0.0008 / 3 * 7 / 12)
    assert parts.sd(1) == pytest.approx(math.sqrt(parts.tau2 + parts.msw * (1 / 3 + 1 / 2 + 1 / 3 + 1 / 4) / 4))


def test_too_little_to_tell() -> None:
    assert luck(searches((0.0, 0.1), (0.1, 0.2), (0.2, 0.1))) is None
    assert luck(searches((0.0,), (0.1,), (0.2,), (0.1,))) is None
    assert Luck((2, 2, 2, 2), 0.0, 0.0001, 0.0).search_share is None


def test_what_is_advised_where_there_are_no_shares() -> None:
    assert advice(searches()) is None
    one, two = searches((0.0, 0.1)), searches((0.0, 0.1), (0.0, 0.2))
    lack = "a verdict on the policies takes 3 searches, not {}"
    assert advice(one) == f"one search tells two configurations apart; {lack.format(1)}"
    assert advice(two) == advice(two, 3) == lack.format(2)
    # Of a study that declared two, a third would be exploratory.
    more = "run a study that declares them (searches added to this one are exploratory)"
    assert advice(two, 2) == f"{lack.format(2)}: {more}"
    assert advice(searches((0.0, 0.1), (0.0, 0.2), (0.0, 0.3))) is None
    assert advice(searches((0.1,), (0.1,), (0.1,), (0.1,))) is None
    # One seed each: sd of 0, 0.002, 0.004, 0.006 is 0.002582; 3.182446 / 2 and 2.364624 / sqrt(8) of it.
    assert advice(searches((0.0,), (0.002,), (0.004,), (0.006,))) == (
        "4 more searches would narrow the interval from +-0.41 to +-0.22 points"
    )


def test_the_half_width_is_scipys() -> None:
    sample = [0.1, 0.4, 0.2, 0.7]
    interval = stats.ttest_1samp(sample, 0.0).confidence_interval(0.95)
    assert half_width(float(np.std(sample, ddof=1)), 4) == pytest.approx((interval.high - interval.low) / 2)
