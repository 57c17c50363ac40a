"""Power and planning, against textbook sample sizes, scipy's noncentral t and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from kdstudy.analysis.planning import detectable, power, searches_needed


def test_the_textbook_sample_sizes() -> None:
    # G*Power and others agree, two-sided 5 %, 80 %: d = 0.5 needs 34 pairs, 0.8 needs 15, 0.2 needs 199.
    assert [searches_needed(effect, 1.0) for effect in (0.5, 0.8, 0.2)] == [34, 15, 199]
    assert detectable(34, 1.0) < 0.5 < detectable(33, 1.0)


@pytest.mark.parametrize(("searches", "level"), [(3, 0.05), (3, 0.05 / 3), (5, 0.01), (8, 0.05), (50, 0.001)])
def test_scipys_noncentral_t_has_80_percent_power_at_the_detectable_difference(searches: int, level: float) -> None:
    effect = detectable(searches, 0.02, level) / 0.02
    noncentrality = effect * math.sqrt(searches)
    critical = stats.t.isf(level / 2, searches - 1)
    both = stats.nct.sf(critical, searches - 1, noncentrality) + stats.nct.cdf(-critical, searches - 1, noncentrality)
    assert both == pytest.approx(0.8, abs=1e-4)
    assert power(effect, searches, level) == pytest.approx(0.8, abs=1e-9)


def test_without_an_effect_the_power_is_the_level() -> None:
    assert power(0.0, 5) == pytest.approx(0.05, abs=1e-5)
    assert power(-1.0, 5) == pytest.approx(power(1.0, 5))


def test_the_power_is_what_a_simulation_finds() -> None:
    effect = detectable(4, 1.0)
    samples = np.random.default_rng(0).normal(effect, 1.0, size=(40_000, 4))
    assert np.mean(stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("difference", "level"), [(0.3, 0.05), (0.9, 0.0125), (5.0, 0.05), (2.0, 0.001)])
def test_the_searches_needed_are_the_fewest(difference: float, level: float) -> None:
    needed = searches_needed(difference, 1.0, level)
    assert power(difference, needed, level) >= 0.8
    assert needed == 3 or power(difference, needed - 1, level) < 0.8
    assert searches_needed(-difference, 1.0, level) == needed


def test_a_large_difference_still_needs_three_searches_and_a_tiny_one_too_many() -> None:
    assert searches_needed(100.0, 1.0) == 3
    assert searches_needed(0.0001, 1.0) is None


def test_a_hundred_comparisons_of_three_searches_have_a_detectable_difference_too() -> None:
    few, many = detectable(3, 0.01), detectable(3, 0.01, 0.05 / 100)
    assert math.isfinite(many)
    assert many > 9 * few > 0


def test_what_is_detectable_scales_and_falls_with_the_searches() -> None:
    assert detectable(5, 0.02) == pytest.approx(2 * detectable(5, 0.01))
    falling = [detectable(n, 1.0) for n in (3, 4, 6, 10, 30)]
    assert falling == sorted(falling, reverse=True)
    assert detectable(5, 1.0, chance=0.9) > detectable(5, 1.0)
    assert [detectable(n, 1.0) for n in (0, 1, 2)] == [None] * 3
    assert [detectable(5, sd) for sd in (None, 0.0)] == [None, None]


@pytest.mark.parametrize(("difference", "sd"), [(0.0, 1.0), (1.0, 0.0)])
def test_nothing_can_be_planned_without_a_difference_and_an_sd(difference: float, sd: float) -> None:
    with pytest.raises(ValueError, match="must not be 0"):
        searches_needed(difference, sd)
