"""What a number of searches can see: power, the detectable difference, and the searches that a difference needs.

All of it takes the sd of d_r, the differences of single searches, as known. Where it is estimated from a few searches,
the answers are rough: with five searches that sd is 0.35 to 1.67 times the true one in 95 studies of 100.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from kdstudy.analysis.estimates import SIGNIFICANCE
from kdstudy.study import MIN_SEARCHES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

POWER = 0.8
"""The chance with which a difference counts as visible."""
MOST_SEARCHES = 100_000
"""Where the search for a number of searches ends."""

_SLICES = 4_000  # of the distribution of an estimated sd; the power is then good to 5 digits


def power(effect: float, searches: int, level: float = SIGNIFICANCE) -> float:
    """Return the chance that the two-sided t test over searches rejects, in [level, 1].

    P(|T| > c) is the mean, over the estimated sd s, of the normal tails beyond c s: the noncentral t distribution,
    written as the mixture it is. scipy's `nct` gives NaN for 2 degrees of freedom and a large noncentrality, as three
    searches and a strict level have; this always works.

    Args:
        effect: True mean of d_r over its sd.
        searches: R, at least 2.
        level: Of the test, in (0, 1); that of the family divided by its comparisons is Holm's strictest.
    """
    return _rejects(effect * math.sqrt(searches), searches - 1, level)


def detectable(searches: int, sd: float | None, level: float = SIGNIFICANCE, chance: float = POWER) -> float | None:
    """Return the smallest true mean difference that the test over searches finds with a given chance.

    Args:
        searches: R.
        sd: Of d_r, in any unit.
        level: Of the test, in (0, 1).
        chance: To find the difference, above the level and below 1.

    Returns:
        In the unit of the sd. None with fewer than 3 searches (no difference, however large, gives a verdict) or an sd
        that is unknown or 0.
    """
    if searches < MIN_SEARCHES or not sd:
        return None
    return sd * _noncentrality(searches - 1, level, chance) / math.sqrt(searches)


def searches_needed(difference: float, sd: float, level: float = SIGNIFICANCE, chance: float = POWER) -> int | None:
    """Return the fewest searches, at least 3, that find a true mean difference with a given chance.

    Args:
        difference: Its size, not 0, in the unit of the sd.
        sd: Of d_r, greater than 0.
        level: Of the test, in (0, 1).
        chance: To find the difference, above the level and below 1.

    Returns:
        None if 100,000 are too few.

    Raises:
        ValueError: The difference is 0 or the sd is not greater than 0.
    """
    if difference == 0 or not sd > 0:
        raise ValueError(f"a difference and its sd must not be 0, got {difference} and {sd}")
    effect = difference / sd  # power is the same for both signs

    def enough(searches: int) -> bool:
        return power(effect, searches, level) >= chance

    high = MIN_SEARCHES
    while not enough(high):
        if high >= MOST_SEARCHES:
            return None
        high = min(2 * high, MOST_SEARCHES)
    low = max(high // 2, MIN_SEARCHES - 1)  # too few, or too few for a verdict
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@lru_cache(maxsize=256)
def _noncentrality(freedom: int, level: float, chance: float) -> float:
    """Return the mean of d_r in standard errors at which the test rejects with the given chance."""
    from scipy import optimize

    def lack(noncentrality: float) -> float:
        return _rejects(noncentrality, freedom, level) - chance

    high = 1.0
    while lack(high) < 0:
        high *= 2
    found: float = optimize.brentq(lack, 0.0, high)
    return found


def _rejects(noncentrality: float, freedom: int, level: float) -> float:
    from scipy import stats

    reach = float(stats.t.isf(level / 2, freedom)) * _spreads(freedom)
    return float((stats.norm.sf(reach - noncentrality) + stats.norm.cdf(-reach - noncentrality)).mean())


@lru_cache(maxsize=64)
def _spreads(freedom: int) -> FloatArray:
    """Return the estimated sd over the true one, in cases that are equally likely."""
    import numpy as np
    from scipy import stats

    ranks = (np.arange(_SLICES) + 0.5) / _SLICES
    spreads: FloatArray = np.sqrt(stats.chi2.ppf(ranks, freedom) / freedom)
    return spreads
