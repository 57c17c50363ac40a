"""Tests and intervals of a mean difference, and their correction for several comparisons, as functions of numbers.

What cannot be computed is None, never NaN: fewer than two differences have no spread, and differences that are all the
same have no test.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from kdstudy.study import MIN_SEARCHES

SIGNIFICANCE = 0.05
"""The chance, over a family of comparisons without any difference, of calling one better or worse."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean difference, its t interval and its two-sided t test against 0, with n - 1 degrees of freedom.

    Args:
        n: Differences, at least 1.
        mean: Of the differences.
        sd: Of the sample (n - 1 in the denominator); None if n < 2.
        ci_low: Lower end of the 95 % interval of the mean. None if n < 2, and if all differences are equal but not 0:
            they tell nothing of the spread.
        ci_high: Its upper end.
        p_value: Of the test; 1 if all differences are 0, else None as the interval.
    """

    n: int
    mean: float
    sd: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None

    @property
    def effect_size(self) -> float | None:
        """Mean / sd, Cohen's d of paired data; 0 if all differences are 0, else None as the interval."""
        if self.p_value is None or self.sd is None:
            return None
        return self.mean / self.sd if self.sd else 0.0


def estimate(differences: Sequence[float]) -> Estimate | None:
    """Estimate the mean of independent, about normal differences; None without any.

    Source:
        Student 1908. For searches of equally many seeds, taken as one number each, this is the exact test of the mixed
        model with a random effect of the search.

    Args:
        differences: Finite, and rid of rounding: an sd of 1e-17 would be taken at its word.
    """
    from scipy import stats

    n = len(differences)
    if n == 0:
        return None
    mean = statistics.fmean(differences)
    if n == 1:
        return Estimate(n, mean)
    sd = statistics.stdev(differences)
    if sd == 0:
        return Estimate(n, mean, sd, 0.0, 0.0, 1.0) if mean == 0 else Estimate(n, mean, sd)
    error = sd / math.sqrt(n)
    reach = quantile(n - 1) * error
    return Estimate(n, mean, sd, mean - reach, mean + reach, 2 * float(stats.t.sf(abs(mean) / error, n - 1)))


def quantile(freedom: float) -> float:
    """Return how many standard errors the 95 % t interval reaches to either side, for so many degrees of freedom.

    By the incomplete beta function, T^2 / freedom being a ratio of two chi-squares: scipy's own t quantile is off by
    2e-11 of its size before 1.17, so that the same record would give other ends there.
    """
    from scipy import special

    share = float(special.betaincinv(freedom / 2, 0.5, 1 - CONFIDENCE))
    return math.sqrt(freedom * (1 / share - 1))


def equivalence_p(found: Estimate, margin: float) -> float | None:
    """Return the p value of "the difference is no larger than the margin": the larger of two one-sided tests' (TOST).

    It is below 0.05 exactly if the 90 % interval lies inside +-margin.

    Source:
        Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach".

    Args:
        found: The estimate.
        margin: Greater than 0, in the unit of the differences.

    Returns:
        0 if all differences are 0, as the interval then is no wider; None if the spread is not known.

    Raises:
        ValueError: The margin is not greater than 0.
    """
    from scipy import stats

    if not margin > 0:
        raise ValueError(f"the margin must be greater than 0, got {margin}")
    if found.p_value is None or found.sd is None:
        return None
    if found.sd == 0:
        return 0.0
    # Of "not below -margin" and "not above +margin" the one on the mean's own side is the harder to show.
    return float(stats.t.sf((margin - abs(found.mean)) / (found.sd / math.sqrt(found.n)), found.n - 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p values for having made all these comparisons.

    A comparison without a p value keeps None but counts: it was made, and had it come out otherwise it would have been
    read.

    Source:
        Holm 1979, "A simple sequentially rejective multiple test procedure": the k-th smallest of m is multiplied by
        m - k + 1, made monotone, and cut at 1. Written out because scipy has no Holm and this would be all that
        statsmodels is installed for.
    """
    ranked = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    reached = 0.0
    for rank, (p, position) in enumerate(ranked):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p))
        adjusted[position] = reached
    return adjusted


def welch_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of how much more one study gains than another, mean(second) - mean(first).

    Source:
        Welch 1947, with Satterthwaite's degrees of freedom.

    Args:
        first: The d_r of one study, one per search.
        second: Those of the other; the two are independent and may differ in variance.

    Returns:
        None if a study has fewer than 3 searches, or neither has any spread.
    """
    if min(len(first), len(second)) < MIN_SEARCHES:
        return None
    parts = [statistics.variance(sample) / len(sample) for sample in (first, second)]
    if sum(parts) == 0:
        return None
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(sample) - 1) for part, sample in zip(parts, (first, second), strict=True)
    )
    middle = statistics.fmean(second) - statistics.fmean(first)
    reach = quantile(freedom) * math.sqrt(sum(parts))
    return middle - reach, middle + reach
