"""The data of one comparison: what each search's picks scored under baseline and treatment, seed by seed.

The search is the unit of every statement about a policy. A search's scores become one number, the mean difference of
its seeds, because its seeds share the luck of what the search picked.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_ROUNDING = 1e-12  # of the largest score: scores are ratios of counts, smaller differences are rounding


@dataclass(frozen=True)
class SearchScores:
    """The confirmation of one search: both arms' picks, trained with the same seeds.

    Args:
        baseline: Test scores in [0, 1], one per seed, at least one; a diverged run scores chance level.
        treatment: Those of the same seeds, in the same order.

    Raises:
        ValueError: Another number of scores, none, or one outside [0, 1].
    """

    baseline: tuple[float, ...]
    treatment: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.baseline) == len(self.treatment):
            raise ValueError(f"{len(self.baseline)} and {len(self.treatment)} scores: one of each arm for every seed")
        wrong = [score for score in (*self.baseline, *self.treatment) if not 0 <= score <= 1]
        if wrong:
            raise ValueError(f"{wrong[0]} is no score: scores lie in [0, 1]")

    @property
    def seeds(self) -> int:
        """How many seeds both arms were run with."""
        return len(self.baseline)

    @property
    def differences(self) -> tuple[float, ...]:
        """Treatment - baseline for each seed; what only rounding tells apart is equal."""
        pairs = zip(self.baseline, self.treatment, strict=True)
        return _rid_of_rounding([after - before for before, after in pairs], self.largest)

    @property
    def largest(self) -> float:
        """The largest score."""
        return max(*self.baseline, *self.treatment)


@dataclass(frozen=True)
class PairedSearches:
    """One treatment against one baseline over repeated searches. The order of searches and seeds tells nothing.

    Args:
        searches: One entry for each search in which both arms have a pick and a score.
        failed: Confirmation runs, of either arm, that ended with an exception; any blocks the verdict.
        unpicked: Searches in which an arm has no pick; any blocks the verdict.
        unequal_seeds: Whether searches may differ in their number of seeds. They count alike even then.

    Raises:
        ValueError: The numbers of seeds differ, and ``unequal_seeds`` is not set.
    """

    searches: tuple[SearchScores, ...]
    failed: int = 0
    unpicked: int = 0
    unequal_seeds: bool = False

    def __post_init__(self) -> None:
        if len({search.seeds for search in self.searches}) > 1 and not self.unequal_seeds:
            raise ValueError(f"searches of {', '.join(str(search.seeds) for search in self.searches)} seeds")

    @property
    def count(self) -> int:
        """R, the number of searches."""
        return len(self.searches)

    @property
    def seeds(self) -> int:
        """S, the seeds of a search; the fewest where they differ, 0 without a search."""
        return min((search.seeds for search in self.searches), default=0)

    @property
    def differences(self) -> tuple[float, ...]:
        """d_r, the mean over its seeds of treatment - baseline, for each search."""
        means = [statistics.fmean(search.differences) for search in self.searches]
        return _rid_of_rounding(means, max((search.largest for search in self.searches), default=0.0))

    @property
    def baseline_means(self) -> tuple[float, ...]:
        """The baseline's mean score in each search."""
        return tuple(statistics.fmean(search.baseline) for search in self.searches)

    @property
    def treatment_means(self) -> tuple[float, ...]:
        """The treatment's mean score in each search."""
        return tuple(statistics.fmean(search.treatment) for search in self.searches)

    @property
    def won(self) -> int:
        """In how many searches the treatment was ahead; a tie is not won."""
        return sum(difference > 0 for difference in self.differences)


def _rid_of_rounding(differences: Sequence[float], largest: float) -> tuple[float, ...]:
    """Make equal what only rounding tells apart.

    0.9 - 0.8 and 0.8 - 0.7 differ in the last bit; taken at its word, that bit would be a spread to test against.
    """
    scale = _ROUNDING * largest
    if differences and max(differences) - min(differences) <= scale:
        mean = statistics.fmean(differences)
        return (0.0 if abs(mean) <= scale else mean,) * len(differences)
    return tuple(0.0 if abs(difference) <= scale else difference for difference in differences)
