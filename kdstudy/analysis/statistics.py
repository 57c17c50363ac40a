"""Paired comparisons over seeds, as pure functions of numbers.

What cannot be computed is None, never NaN: fewer than two pairs have no spread, and differences that are the
same for every seed have no test.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdstudy.results import Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

SIGNIFICANCE = 0.05
CONFIDENCE = 0.95
POWER = 0.8
MIN_PAIRS = 3
"""Fewer pairs never give a verdict."""

_ROUNDING = 1e-12  # of the largest score: scores are ratios of counts, smaller differences are rounding
_SLICES = 4_000  # of the distribution of an estimated sd; the power is then good to 5 digits


@dataclass(frozen=True)
class PairedResult:
    """What the differences treatment - baseline, one per seed, say.

    Args:
        n: Pairs.
        baseline_mean: None if n = 0.
        treatment_mean: None if n = 0.
        baseline_sd: Of the sample (n - 1 in the denominator); None if n < 2.
        treatment_sd: Of the sample; None if n < 2.
        difference: Mean of the differences; None if n = 0.
        sd: Of the differences; None if n < 2.
        ci_low: Lower end of the 95 % t interval of the difference. None if n < 2, and if all differences are
            equal but not 0: they tell nothing of the spread.
        ci_high: Its upper end.
        p_value: Of the two-sided paired t test; 1 if all differences are 0, else None as the interval.
        effect_size: Mean / sd of the differences; 0 if all differences are 0, else None as the interval.
        p_improvement: (wins + ties / 2) / n, in [0, 1]; None if n = 0.
    """

    n: int
    baseline_mean: float | None = None
    treatment_mean: float | None = None
    baseline_sd: float | None = None
    treatment_sd: float | None = None
    difference: float | None = None
    sd: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None
    effect_size: float | None = None
    p_improvement: float | None = None


def compare_paired(baseline: Sequence[float], treatment: Sequence[float]) -> PairedResult:
    """Compare two arms over the same seeds.

    Args:
        baseline: One finite score per seed.
        treatment: The scores of the same seeds, in the same order.

    Raises:
        ValueError: The numbers of scores differ.
    """
    differences = paired_differences(baseline, treatment)
    n = len(differences)
    if n == 0:
        return PairedResult(0)
    mean, sd = statistics.fmean(differences), _sd(differences)
    p_value, ci_low, ci_high = _t_test(differences)
    return PairedResult(
        n=n,
        baseline_mean=statistics.fmean(baseline),
        treatment_mean=statistics.fmean(treatment),
        baseline_sd=_sd(baseline),
        treatment_sd=_sd(treatment),
        difference=mean,
        sd=sd,
        ci_low=ci_low,
        ci_high=ci_high,
        p_value=p_value,
        effect_size=None if p_value is None or sd is None else mean / sd if sd else 0.0,
        p_improvement=sum(1.0 if d > 0 else 0.5 if d == 0 else 0.0 for d in differences) / n,
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p values for having made all these comparisons.

    A comparison without a p value keeps None but counts: it was made, and had it come out otherwise it would
    have been read.

    Source:
        Holm 1979, "A simple sequentially rejective multiple test procedure": the k-th smallest of m is
        multiplied by m - k + 1, made monotone, and cut at 1. Written out because scipy has no Holm and this would be
        all that statsmodels is installed for.
    """
    ranked = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    reached = 0.0
    for rank, (p, position) in enumerate(ranked):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p))
        adjusted[position] = reached
    return adjusted


def verdict(n: int, difference: float | None, p_adjusted: float | None) -> Verdict:
    """Return whether the treatment is better or worse: from 3 pairs on, if the adjusted p is below 0.05."""
    if n < MIN_PAIRS or difference is None or p_adjusted is None or p_adjusted >= SIGNIFICANCE:
        return "inconclusive"
    return "better" if difference > 0 else "worse"


def detectable(n: int, sd: float | None, alpha: float, power: float = POWER) -> float | None:
    """Return the smallest true mean difference that a two-sided paired t test finds with a given power.

    The sd is itself estimated from the pairs, so with few of them this is a rough figure.

    Args:
        n: Pairs.
        sd: Of the differences.
        alpha: Level of the test, in (0, 1), adjusted for the number of comparisons.
        power: Chance to find the difference, above alpha and below 1.

    Returns:
        In units of the sd. None if n < 3 (no difference, however large, gives a verdict) or the sd is unknown
        or 0.
    """
    from scipy import optimize, stats

    if n < MIN_PAIRS or not sd:
        return None
    critical, spreads = float(stats.t.isf(alpha / 2, n - 1)), _spreads(n - 1)

    def lack(noncentrality: float) -> float:
        return _power(noncentrality, critical, spreads) - power

    high = 1.0
    while lack(high) < 0:
        high *= 2
    noncentrality: float = optimize.brentq(lack, 0.0, high)
    return sd * noncentrality / math.sqrt(n)


def welch_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of mean(second) - mean(first) for independent samples of unequal variance.

    Source:
        Welch 1947, with Satterthwaite's degrees of freedom.

    Returns:
        None if a sample has fewer than 2 values, or none has any spread.
    """
    from scipy import stats

    if min(len(first), len(second)) < 2:
        return None
    if len({*first}) == len({*second}) == 1:
        return None
    interval = stats.ttest_ind(second, first, equal_var=False).confidence_interval(CONFIDENCE)
    return float(interval.low), float(interval.high)


def _t_test(differences: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Return p value and interval of the paired t test, on differences that are rid of rounding already."""
    from scipy import stats

    if len(differences) < 2:
        return None, None, None
    if len({*differences}) == 1:
        return (1.0, 0.0, 0.0) if differences[0] == 0 else (None, None, None)
    test = stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(CONFIDENCE)
    return float(test.pvalue), float(interval.low), float(interval.high)


def paired_differences(baseline: Sequence[float], treatment: Sequence[float]) -> list[float]:
    """Return treatment - baseline, with what only rounding tells apart made equal.

    0.9 - 0.8 and 0.8 - 0.7 differ in the last bit; taken at its word, that bit would be a spread to test
    against.
    """
    differences = [after - before for before, after in zip(baseline, treatment, strict=True)]
    scale = _ROUNDING * max((abs(score) for score in (*baseline, *treatment)), default=0.0)
    if differences and max(differences) - min(differences) <= scale:
        mean = statistics.fmean(differences)
        return [0.0 if abs(mean) <= scale else differences[0]] * len(differences)
    return [0.0 if abs(difference) <= scale else difference for difference in differences]


def _sd(sample: Sequence[float]) -> float | None:
    return statistics.stdev(sample) if len(sample) > 1 else None


def _spreads(freedom: int) -> FloatArray:
    """Return the estimated sd over the true one, in cases that are equally likely."""
    import numpy as np
    from scipy import stats

    ranks = (np.arange(_SLICES) + 0.5) / _SLICES
    spreads: FloatArray = np.sqrt(stats.chi2.ppf(ranks, freedom) / freedom)
    return spreads


def _power(noncentrality: float, critical: float, spreads: FloatArray) -> float:
    """Return the chance that the two-sided t test rejects, when its statistic is noncentral t.

    P(|T| > c) is the mean, over the estimated sd s, of the normal tails beyond c s. Unlike scipy's `nct`,
    which gives NaN for 2 degrees of freedom and a large noncentrality (met with 3 pairs and a hundred
    comparisons) and on which statsmodels' `TTestPower` builds, this always works.
    """
    from scipy import stats

    reach = critical * spreads
    return float((stats.norm.sf(reach - noncentrality) + stats.norm.cdf(-reach - noncentrality)).mean())
