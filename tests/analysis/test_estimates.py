"""Tests and intervals: cases on paper, scipy beside them, and what holds for all numbers."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import optimize, stats

from kdstudy.analysis.estimates import Estimate, equivalence_p, estimate, holm, welch_interval

# Differences of searches: thousandths of test scores.
differences = st.lists(st.integers(-300, 300).map(lambda thousandths: thousandths / 1000), min_size=2, max_size=12)


def test_an_estimate_computed_on_paper() -> None:
    # 0.03, 0.01, 0.04: mean 0.08/3; squared deviations 1/90000 + 25/90000 + 16/90000 = 42/90000, variance 21/90000,
    # sd 0.0152753; standard error 0.0152753 / sqrt(3) = 0.0088192; t = 3.0237. With 2 degrees of freedom
    # p = 1 - t / sqrt(t^2 + 2) = 1 - 3.0237 / 3.3381 = 0.0942; t(0.975) = 4.30265, so the interval reaches
    # 4.30265 * 0.0088192 = 0.037946 to either side. Effect size 0.026667 / 0.0152753 = 1.745743.
    found = estimate([0.03, 0.01, 0.04])
    expected = Estimate(3, 0.08 / 3, math.sqrt(21 / 90000), -0.011279, 0.064612, 0.094178)
    assert asdict(found) == pytest.approx(asdict(expected), abs=1e-6)
    assert found.effect_size == pytest.approx(1.745743, abs=1e-6)


def test_an_equivalence_computed_on_paper() -> None:
    # -0.01, 0, 0.01: mean 0, sd 0.01, standard error 0.01 / sqrt(3). A margin of 0.05 lies t = 8.660254 standard errors
    # away on both sides. With 2 degrees of freedom one tail is (1 - t / sqrt(t^2 + 2)) / 2, that is
    # (1 - 0.986928) / 2 = 0.006536.
    assert equivalence_p(estimate([-0.01, 0.0, 0.01]), 0.05) == pytest.approx(0.006536, abs=1e-6)


@given(differences)
def test_test_and_interval_are_scipys(sample: list[float]) -> None:
    assume(len({*sample}) > 1)
    found, reference = estimate(sample), stats.ttest_1samp(sample, 0.0)
    assert found.p_value == pytest.approx(reference.pvalue, rel=1e-9)
    # scipy's own interval is off by 2e-11 of its size before 1.17, its tails are not: 5 % lie beyond these many errors.
    reach = optimize.brentq(lambda errors: 2 * stats.t.sf(errors, len(sample) - 1) - 0.05, 1.0, 20.0, xtol=1e-14)
    reach *= stats.sem(sample)
    low, high = np.mean(sample) - reach, np.mean(sample) + reach
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
    assert found.effect_size == pytest.approx(reference.statistic / math.sqrt(len(sample)), rel=1e-9, abs=1e-12)


@given(differences, st.floats(0.001, 0.3))
def test_equivalence_is_the_larger_of_scipys_one_sided_tests(sample: list[float], margin: float) -> None:
    assume(len({*sample}) > 1)
    above = stats.ttest_1samp(sample, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(sample, margin, alternative="less").pvalue
    p = equivalence_p(estimate(sample), margin)
    assert p == pytest.approx(max(above, below), rel=1e-9)
    inside = stats.ttest_1samp(sample, 0.0).confidence_interval(0.90)
    assume(abs(p - 0.05) > 1e-6)
    assert (p < 0.05) == (-margin < inside.low and inside.high < margin)


@given(differences, st.randoms())
def test_the_order_of_the_searches_tells_nothing(sample: list[float], random: object) -> None:
    other = [*sample]
    random.shuffle(other)
    assert estimate(other) == estimate(sample)


@given(differences)
def test_turning_every_sign_turns_the_estimate(sample: list[float]) -> None:
    one, other = estimate(sample), estimate([-difference for difference in sample])
    assert (one.mean, one.p_value, one.sd) == (-other.mean, other.p_value, other.sd)
    assert one.ci_low is None or (one.ci_low, one.ci_high) == (-other.ci_high, -other.ci_low)
    assert equivalence_p(one, 0.05) == equivalence_p(other, 0.05)


@given(differences, st.floats(0.01, 100))
def test_another_unit_changes_no_p_value(sample: list[float], factor: float) -> None:
    assume(len({*sample}) > 1)
    one, other = estimate(sample), estimate([factor * difference for difference in sample])
    assert other.p_value == pytest.approx(one.p_value, rel=1e-6)
    assert other.ci_high == pytest.approx(factor * one.ci_high, rel=1e-6, abs=1e-9)
    assert equivalence_p(other, factor * 0.05) == pytest.approx(equivalence_p(one, 0.05), rel=1e-6)


def test_no_difference_anywhere_is_p_1() -> None:
    found = estimate([0.0, 0.0, 0.0])
    assert found == Estimate(3, 0.0, 0.0, 0.0, 0.0, 1.0)
    assert found.effect_size == 0
    assert equivalence_p(found, 0.01) == 0


def test_the_same_difference_everywhere_has_no_test() -> None:
    found = estimate([0.125, 0.125, 0.125])
    assert found == Estimate(3, 0.125, 0.0)
    assert (found.effect_size, equivalence_p(found, 0.5)) == (None, None)


def test_one_difference_has_a_mean_and_none_has_nothing() -> None:
    assert estimate([0.25]) == Estimate(1, 0.25)
    assert equivalence_p(estimate([0.25]), 0.5) is None
    assert estimate([]) is None


@pytest.mark.parametrize("margin", [0.0, -0.1, math.nan])
def test_a_margin_is_greater_than_0(margin: float) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        equivalence_p(Estimate(3, 0.0, 0.1, -0.1, 0.1, 1.0), margin)


def test_holm_computed_on_paper() -> None:
    # Sorted 0.01, 0.03, 0.04: 3 * 0.01 = 0.03; 2 * 0.03 = 0.06; 1 * 0.04 = 0.04, raised to 0.06.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    # Ties: 4 * 0.02 = 0.08; 3 * 0.02 = 0.06, raised to 0.08; 2 * 0.03 = 0.06, raised; 1 * 0.2.
    assert holm([0.02, 0.2, 0.02, 0.03]) == pytest.approx([0.08, 0.2, 0.08, 0.08])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert (holm([]), holm([0.04])) == ([], [0.04])


def test_a_comparison_without_p_value_counts_in_the_correction_of_the_others() -> None:
    assert holm([None, 0.01, None, 0.04]) == [None, 0.04, None, pytest.approx(0.12)]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_holm_keeps_the_order_and_lies_between_raw_and_bonferroni(p_values: list[float | None]) -> None:
    adjusted = holm(p_values)
    assert [one is None for one in adjusted] == [one is None for one in p_values]
    known = [(raw, new) for raw, new in zip(p_values, adjusted, strict=True) if raw is not None and new is not None]
    assert all(raw <= new <= min(1.0, len(p_values) * raw) + 1e-15 for raw, new in known)
    for (raw, new), (other_raw, other_new) in itertools.permutations(known, 2):
        assert raw >= other_raw or new <= other_new


@given(st.lists(st.integers(-9, 9), min_size=3, max_size=8), st.lists(st.integers(-9, 9), min_size=3, max_size=8))
@pytest.mark.filterwarnings("ignore:Precision loss:RuntimeWarning")  # scipy's, where one sample is constant
def test_the_difference_of_gains_has_scipys_welch_interval(first: list[float], second: list[float]) -> None:
    interval = welch_interval(first, second)
    if len({*first}) == len({*second}) == 1:
        assert interval is None
        return
    reference = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert interval == pytest.approx((reference.low, reference.high), rel=1e-6, abs=1e-9)


def test_two_searches_have_no_difference_of_gains() -> None:
    assert welch_interval([0.1, 0.2], [0.1, 0.2, 0.3]) is None
    assert welch_interval([0.1, 0.2, 0.3], []) is None


@pytest.mark.parametrize("searches", [3, 5, 8])
def test_a_policy_that_does_nothing_differs_in_one_study_of_twenty(searches: int) -> None:
    # The luck of the search (tau2 = 1) far above that of the seeds (0.5 / 2), as measured on real A/A studies.
    rng = np.random.default_rng(searches)
    studies, seeds = 6_000, 2
    drawn = rng.normal(0, 1, (studies, searches, 1)) + rng.normal(0, math.sqrt(0.5), (studies, searches, seeds))
    found = [estimate(list(d)) for d in drawn.mean(2)]
    wrong = np.mean([one.p_value < 0.05 for one in found])
    covered = np.mean([one.ci_low <= 0 <= one.ci_high for one in found])
    assert wrong == pytest.approx(0.05, abs=0.0115)  # four standard errors
    assert covered == 1 - wrong
    shifted = [estimate(list(d)) for d in drawn.mean(2)[:2_000] + 1.5]
    assert np.mean([one.ci_low <= 1.5 <= one.ci_high for one in shifted]) == pytest.approx(0.95, abs=0.02)
    # What the seed as unit would say of the same data, and why it may not.
    pooled = stats.ttest_1samp(drawn.reshape(studies, -1), 0.0, axis=1).pvalue
    assert np.mean(pooled < 0.05) > 0.12
