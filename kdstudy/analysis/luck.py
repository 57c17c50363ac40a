"""How much of the scatter between searches is the luck of the search, and what more searches or seeds would buy."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from kdstudy.analysis.estimates import Estimate, estimate, quantile
from kdstudy.analysis.searches import PairedSearches
from kdstudy.results import points
from kdstudy.study import MIN_SEARCHES

MIN_SHARES = 4
"""Fewer searches say nothing of which share of the variance is whose."""
MORE_SEARCHES = 4
"""What advice weighs against `MORE_SEEDS`."""
MORE_SEEDS = 2


@dataclass(frozen=True)
class Luck:
    """The variance of d_r, the difference of one search, by where it comes from.

    Args:
        seeds: S_r of each search.
        variance: Of d_r over searches, as measured.
        msw: Mean square within: the variance of the paired differences over the seeds of a search, mean over the
            searches that have at least two.
        tau2: What the search's luck adds: max(0, variance - msw / S), with the mean of 1 / S_r for 1 / S. All in
            squared units of the scores.

    Source:
        The moment estimator of one-way random effects (Searle, Casella & McCulloch 1992, "Variance Components", ch. 3).
    """

    seeds: tuple[int, ...]
    variance: float
    msw: float
    tau2: float

    @property
    def search_share(self) -> float | None:
        """The share of the variance of d_r that is the luck of the search, in [0, 1]; None without any variance.

        Rough: with eight searches and a true share of 0.74, one in ten lies at 0 and one in ten above 0.91.
        """
        return self.tau2 / self.variance if self.variance else None

    def sd(self, more_seeds: int = 0) -> float:
        """Return the sd of d_r to be expected with so many more seeds in each search."""
        inverse = statistics.fmean(1 / (seeds + more_seeds) for seeds in self.seeds)
        return math.sqrt(self.tau2 + self.msw * inverse)

    def half_width(self, more_searches: int = 0, more_seeds: int = 0) -> float:
        """Return the half of the 95 % interval to be expected, t sqrt((tau2 + msw / S) / R), in units of the scores.

        With none more it is that of the estimate, unless tau2 is 0: then the seeds alone make the searches expected to
        scatter more than they do.
        """
        return half_width(self.sd(more_seeds), len(self.seeds) + more_searches)


def luck(scores: PairedSearches) -> Luck | None:
    """Return the parts of the variance; None with fewer than 4 searches, or no search of at least two seeds."""
    within = [statistics.variance(search.differences) for search in scores.searches if search.seeds > 1]
    if scores.count < MIN_SHARES or not within:
        return None
    seeds = tuple(search.seeds for search in scores.searches)
    msw, variance = statistics.fmean(within), statistics.variance(scores.differences)
    tau2 = max(0.0, variance - msw * statistics.fmean(1 / count for count in seeds))
    return Luck(seeds, variance, msw, tau2)


def half_width(sd: float, searches: int) -> float:
    """Return half the 95 % t interval of the mean of so many d_r, at least 2, of this sd."""
    return quantile(searches - 1) * sd / math.sqrt(searches)


def advice(scores: PairedSearches, declared: int | None = None) -> str | None:
    """Return in one sentence what further compute would buy; None where nothing can be said.

    Args:
        scores: Of the comparison.
        declared: The most searches that the study declared; those beyond would be exploratory, and are called so.
    """
    found = estimate(scores.differences)
    if found is None:
        return None
    if found.n < MIN_SEARCHES:
        return _towards_a_verdict(found.n, declared)
    if found.n < MIN_SHARES or not found.sd:
        return None
    text = _what_it_buys(found, luck(scores))
    if declared is not None and found.n + MORE_SEARCHES > declared:
        text += f" (searches beyond the {declared} that the study declared are exploratory)"
    return text


def _towards_a_verdict(searches: int, declared: int | None) -> str:
    """Return what a verdict takes; of a study that declared too few it takes another study."""
    lack = f"a verdict on the policies takes {MIN_SEARCHES} searches, not {searches}"
    if searches == 1:
        lack = f"one search tells two configurations apart; {lack}"
    if declared is None or declared >= MIN_SEARCHES:
        return lack
    return f"{lack}: run a study that declares them (searches added to this one are exploratory)"


def _what_it_buys(found: Estimate, parts: Luck | None) -> str:
    sd = found.sd or 0.0
    if parts is None:
        now, then = _widths(half_width(sd, found.n), half_width(sd, found.n + MORE_SEARCHES))
        return f"{MORE_SEARCHES} more searches would narrow the interval from {now} to {then} points"
    now, searches, seeds = _widths(
        parts.half_width(),
        parts.half_width(more_searches=MORE_SEARCHES),
        parts.half_width(more_seeds=MORE_SEEDS),
    )
    if not parts.tau2:
        return (
            f"the seeds explain all of the variance, an interval of {now} points is to be expected: "
            f"{MORE_SEARCHES} more searches would narrow it to {searches}, "
            f"{MORE_SEEDS} more seeds per search to {seeds}"
        )
    return (
        f"{_share(parts)} of the variance is the luck of the search: {MORE_SEARCHES} more searches would narrow the "
        f"interval from {now} to {searches} points, {MORE_SEEDS} more seeds per search to {seeds}"
    )


def _share(parts: Luck) -> str:
    """Return the share to the nearest ten percent: it is not known any better."""
    tens = round(10 * (parts.search_share or 0.0))
    return f"about {10 * tens} %" if tens else "less than 5 %"


def _widths(*halves: float) -> tuple[str, ...]:
    """Return half widths in points, all with as many decimals as tell the largest to two digits."""
    digits = 1 if max(halves) >= 0.01 else 2
    return tuple(f"+-{points(half, digits)}" for half in halves)
