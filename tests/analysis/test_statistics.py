"""The statistics: one case on paper, scipy beside them, and what holds for all numbers."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from kdstudy.analysis import statistics as stats
from kdstudy.analysis.statistics import PairedResult, compare_paired, detectable, holm, verdict, welch_interval

# Test scores: how many of 1,000 images were right.
score = st.integers(0, 1000).map(lambda right: right / 1000)
pairs = st.lists(st.tuples(score, score), min_size=2, max_size=12)


def unzip(both: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [before for before, _ in both], [after for _, after in both]


def test_a_comparison_computed_on_paper() -> None:
    # Differences 0.03, 0.01, 0.04: mean 0.08/3; squared deviations 1/90000 + 25/90000 + 16/90000 = 42/90000,
    # variance 21/90000, sd 0.0152753; standard error 0.0152753 / sqrt(3) = 0.0088192; t = 3.0237.
    # With 2 degrees of freedom p = 1 - t / sqrt(t^2 + 2) = 1 - 3.0237 / 3.3381 = 0.0942; t(0.975) = 4.30265,
    # so the interval reaches 4.30265 * 0.0088192 = 0.037946 to either side.
    result = compare_paired([0.90, 0.92, 0.91], [0.93, 0.93, 0.95])
    expected = PairedResult(
        n=3,
        baseline_mean=0.91,
        treatment_mean=2.81 / 3,
        baseline_sd=0.01,
        treatment_sd=math.sqrt(4 / 3) / 100,
        difference=0.08 / 3,
        sd=math.sqrt(21 / 90000),
        ci_low=-0.011279,
        ci_high=0.064612,
        p_value=0.094178,
        effect_size=1.745743,
        p_improvement=1.0,
    )
    assert asdict(result) == pytest.approx(asdict(expected), abs=1e-6)


def test_holm_computed_on_paper() -> None:
    # Sorted 0.01, 0.03, 0.04: 3 * 0.01 = 0.03; 2 * 0.03 = 0.06; 1 * 0.04 = 0.04, raised to 0.06.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.04]) == [0.04]


def test_a_comparison_without_p_value_counts_in_the_correction_of_the_others() -> None:
    assert holm([None, 0.01, None, 0.04]) == [None, 0.04, None, pytest.approx(0.12)]


@given(pairs)
def test_the_test_and_its_interval_are_scipys(both: list[tuple[float, float]]) -> None:
    baseline, treatment = unzip(both)
    differences = {round(1000 * after) - round(1000 * before) for before, after in both}
    assume(len(differences) > 1)
    result = compare_paired(baseline, treatment)
    reference = scipy_stats.ttest_rel(treatment, baseline)
    interval = reference.confidence_interval(0.95)
    assert result.p_value == pytest.approx(reference.pvalue, rel=1e-6, abs=1e-12)
    assert (result.ci_low, result.ci_high) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)
    assert result.effect_size == pytest.approx(reference.statistic / math.sqrt(len(both)), rel=1e-6, abs=1e-9)


@given(pairs)
def test_exchanging_the_arms_turns_every_sign(both: list[tuple[float, float]]) -> None:
    baseline, treatment = unzip(both)
    one, other = compare_paired(baseline, treatment), compare_paired(treatment, baseline)
    assert one.difference == pytest.approx(-other.difference, abs=1e-12)
    assert one.p_value == (None if other.p_value is None else pytest.approx(other.p_value, rel=1e-9))
    assert one.p_improvement + other.p_improvement == pytest.approx(1.0)
    if one.ci_low is not None:
        assert one.ci_low == pytest.approx(-other.ci_high, abs=1e-12)


@given(pairs)
def test_nothing_is_nan_and_shares_are_shares(both: list[tuple[float, float]]) -> None:
    result = compare_paired(*unzip(both))
    assert all(value is None or math.isfinite(value) for value in asdict(result).values())
    assert 0 <= result.p_improvement <= 1
    assert result.p_value is None or 0 <= result.p_value <= 1
    assert (result.ci_low is None) == (result.p_value is None) == (result.effect_size is None)
    if result.ci_low is not None:
        assert result.ci_low <= result.difference <= result.ci_high


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_holm_keeps_the_order_and_lies_between_raw_and_bonferroni(p_values: list[float | None]) -> None:
    adjusted = holm(p_values)
    assert [one is None for one in adjusted] == [one is None for one in p_values]
    known = [(raw, new) for raw, new in zip(p_values, adjusted, strict=True) if raw is not None and new is not None]
    assert all(raw <= new <= min(1.0, len(p_values) * raw) + 1e-15 for raw, new in known)
    for (raw, new), (other_raw, other_new) in itertools.permutations(known, 2):
        assert raw >= other_raw or new <= other_new


def test_no_or_one_pair_gives_what_there_is() -> None:
    assert compare_paired([], []) == PairedResult(0)
    assert compare_paired([0.5], [0.75]) == PairedResult(
        1, baseline_mean=0.5, treatment_mean=0.75, difference=0.25, p_improvement=1.0
    )


def test_equal_scores_are_no_difference_at_all() -> None:
    result = compare_paired([0.5, 0.7, 0.9], [0.5, 0.7, 0.9])
    assert (result.difference, result.sd, result.ci_low, result.ci_high) == (0, 0, 0, 0)
    assert (result.p_value, result.effect_size, result.p_improvement) == (1, 0, 0.5)
    assert verdict(3, result.difference, result.p_value) == "inconclusive"


def test_the_same_difference_for_every_seed_has_no_test() -> None:
    # In floating point these differences are not equal: 0.8 - 0.7 and 0.9 - 0.8 differ in the last bit.
    baseline, treatment = [0.7, 0.8, 0.1], [0.8, 0.9, 0.2]
    assert len({after - before for before, after in zip(baseline, treatment, strict=True)}) > 1
    result = compare_paired(baseline, treatment)
    assert (result.sd, result.p_value, result.effect_size, result.ci_low, result.ci_high) == (0, *[None] * 4)
    assert result.difference == pytest.approx(0.1)
    assert verdict(3, result.difference, result.p_value) == "inconclusive"
    assert detectable(3, result.sd, 0.05) is None


def test_rounding_is_a_tie() -> None:
    result = compare_paired([0.1 + 0.2, 0.5, 0.5, 0.5], [0.3, 0.6, 0.4, 0.5])
    assert result.p_improvement == (1 + 2 / 2) / 4


def test_arms_of_different_length_are_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        compare_paired([0.5], [0.5, 0.6])


@pytest.mark.parametrize(
    ("n", "difference", "p_adjusted", "expected"),
    [
        (3, 0.1, 0.0499, "better"),
        (3, -0.1, 0.0499, "worse"),
        (3, 0.1, 0.05, "inconclusive"),
        (2, 0.1, 0.0001, "inconclusive"),
        (3, 0.1, None, "inconclusive"),
        (0, None, None, "inconclusive"),
    ],
)
def test_the_verdict(n: int, difference: float | None, p_adjusted: float | None, expected: str) -> None:
    assert verdict(n, difference, p_adjusted) == expected


def test_the_textbook_sample_size_for_a_medium_effect() -> None:
    # Power calculators agree: 34 pairs for d = 0.5, two-sided 5 %, 80 % power; 33 are too few.
    assert detectable(34, 1.0, 0.05) < 0.5 < detectable(33, 1.0, 0.05)


@pytest.mark.parametrize(("n", "alpha"), [(3, 0.05), (3, 0.05 / 3), (5, 0.01), (10, 0.05), (50, 0.001)])
def test_at_the_detectable_difference_scipys_noncentral_t_has_80_percent_power(n: int, alpha: float) -> None:
    noncentrality = detectable(n, 0.02, alpha) / 0.02 * math.sqrt(n)
    critical = scipy_stats.t.isf(alpha / 2, n - 1)
    power = scipy_stats.nct.sf(critical, n - 1, noncentrality) + scipy_stats.nct.cdf(-critical, n - 1, noncentrality)
    assert power == pytest.approx(0.8, abs=1e-4)


def test_the_power_is_what_a_simulation_finds() -> None:
    rng = np.random.default_rng(0)
    effect = detectable(4, 1.0, 0.05)
    samples = rng.normal(effect, 1.0, size=(40_000, 4))
    found = np.mean(scipy_stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05)
    assert found == pytest.approx(0.8, abs=0.01)  # five standard errors


def test_a_hundred_comparisons_of_three_seeds_have_a_detectable_difference_too() -> None:
    few, many = detectable(3, 0.01, 0.05), detectable(3, 0.01, 0.05 / 100)
    assert many > 9 * few > 0
    assert math.isfinite(many)


def test_what_is_detectable_scales_and_falls_with_the_pairs() -> None:
    assert detectable(5, 0.02, 0.05) == pytest.approx(2 * detectable(5, 0.01, 0.05))
    falling = [detectable(n, 1.0, 0.05) for n in (3, 4, 6, 10, 30)]
    assert falling == sorted(falling, reverse=True)
    assert detectable(5, 1.0, 0.05, power=0.9) > detectable(5, 1.0, 0.05)
    assert [detectable(n, 1.0, 0.05) for n in (0, 1, 2)] == [None] * 3
    assert detectable(5, None, 0.05) is None


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=8), st.lists(st.integers(-9, 9), min_size=2, max_size=8))
@pytest.mark.filterwarnings("ignore:Precision loss:RuntimeWarning")  # scipy's, where one sample is constant
def test_the_difference_of_gains_has_scipys_welch_interval(first: list[float], second: list[float]) -> None:
    interval = welch_interval(first, second)
    if len(set(first)) == len(set(second)) == 1:
        assert interval is None
        return
    reference = scipy_stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert interval == pytest.approx((reference.low, reference.high), rel=1e-6, abs=1e-9)


def test_one_value_has_no_welch_interval() -> None:
    assert welch_interval([0.1], [0.1, 0.2]) is None
    assert welch_interval([0.1, 0.2], []) is None


def test_the_constants_are_those_of_the_method() -> None:
    assert (stats.SIGNIFICANCE, stats.CONFIDENCE, stats.POWER, stats.MIN_PAIRS) == (0.05, 0.95, 0.8, 3)
