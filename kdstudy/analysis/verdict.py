"""What a study concludes of its comparisons: tests over searches, corrected for their number, and one word each.

Source:
    The unit is the search: a policy's score depends on what its search picked, and another search picks otherwise.
    With one search and paired seeds, a policy that does nothing was called better or worse in 17 of 61 studies (28 %),
    and more seeds make it worse; over searches of the same data it is 2 %.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kdstudy.analysis.estimates import SIGNIFICANCE, Estimate, equivalence_p, estimate, holm
from kdstudy.analysis.looks import FIRST_LOOK, looks_p, looks_problem, nominal_level
from kdstudy.analysis.luck import Luck, advice, luck
from kdstudy.analysis.planning import detectable, searches_needed
from kdstudy.analysis.searches import PairedSearches
from kdstudy.results import Verdict
from kdstudy.study import MIN_SEARCHES


@dataclass(frozen=True)
class Plan:
    """What a study declared of its confirmation before it began.

    Args:
        searches: ``confirm.searches``, at least 1: with fewer there is no verdict yet.
        at_most: ``confirm.at_most``: further searches may follow one by one, up to so many; None: none are declared.
        smallest: ``confirm.smallest`` as a fraction, greater than 0: the difference that would matter; None: not asked.

    Raises:
        ValueError: A value is out of its range.
    """

    searches: int
    at_most: int | None = None
    smallest: float | None = None

    def __post_init__(self) -> None:
        problem = None if self.at_most is None else looks_problem(self.searches, self.at_most)
        if self.searches < 1 or problem:
            raise ValueError(f"at_most {problem}" if problem else f"{self.searches} searches")
        if self.smallest is not None and not self.smallest > 0:
            raise ValueError(f"smallest must be greater than 0, got {self.smallest}")

    @property
    def declared(self) -> int:
        """The most searches that count."""
        return self.at_most or self.searches

    def p(self, nominal: float | None, searches: int, *, two_sided: bool = True) -> float | None:
        """Return the p value after so many searches, which is that of all looks where several were declared."""
        if nominal is None or self.at_most is None or searches < FIRST_LOOK:
            return nominal
        return looks_p(nominal, self.searches, self.at_most, "two_sided" if two_sided else "one_sided")

    def level(self, family: int, searches: int) -> float:
        """Return the level that the p of a t test must undercut to be the strictest of so many comparisons."""
        level = SIGNIFICANCE / family
        if self.at_most is None or searches < FIRST_LOOK:
            return level
        return nominal_level(level, self.searches, self.at_most)


@dataclass(frozen=True)
class Judgement:
    """One comparison, judged.

    Args:
        scores: What was judged.
        estimate: Of the differences of the searches; with one search, of its paired seeds. None without any score. The
            interval is at the nominal level even where several looks were declared.
        p_value: Of "no difference"; where several looks were declared, the chance of so small a p at any of them.
        p_adjusted: Holm over the family; None for an exploratory comparison, which has none.
        detectable: The smallest true difference that would be found with 80 % power at the strictest of Holm's levels
            and looks; None with fewer than 3 differences or without spread.
        searches_needed: The searches that would find ``smallest`` with 80 % power at that level; None if it was not
            asked, with fewer than 3 searches or without spread.
        p_no_difference: Of "a difference of ``smallest`` or more", by two one-sided tests, for the looks declared. None
            if it was not asked, or with fewer than 3 searches.
        p_no_difference_adjusted: Holm over that family.
        luck: Where the variance comes from; None with fewer than 4 searches.
        advice: What further compute would buy, in one sentence.
        verdict: Of the treatment.
    """

    scores: PairedSearches
    estimate: Estimate | None
    p_value: float | None
    p_adjusted: float | None
    detectable: float | None
    searches_needed: int | None
    p_no_difference: float | None
    p_no_difference_adjusted: float | None
    luck: Luck | None
    advice: str | None
    verdict: Verdict

    @property
    def unit(self) -> Literal["search", "seed"]:
        """What the estimate counts."""
        return "seed" if self.scores.count == 1 else "search"

    @property
    def baseline_mean(self) -> float | None:
        """Mean over searches of the baseline's mean score."""
        return _mean(self.scores.baseline_means)

    @property
    def treatment_mean(self) -> float | None:
        """Mean over searches of the treatment's mean score."""
        return _mean(self.scores.treatment_means)

    @property
    def baseline_sd(self) -> float | None:
        """Its sd over searches; None with fewer than 2."""
        return _sd(self.scores.baseline_means)

    @property
    def treatment_sd(self) -> float | None:
        """Its sd over searches; None with fewer than 2."""
        return _sd(self.scores.treatment_means)

    @property
    def effect_size(self) -> float | None:
        """Mean of d_r over its sd; 0 if all d_r are 0; None with fewer than 2 searches or d_r that are all the same."""
        return self.estimate.effect_size if self.estimate and self.unit == "search" else None

    @property
    def search_share(self) -> float | None:
        """The share of the variance of d_r that is the luck of the search."""
        return self.luck.search_share if self.luck else None


def judge(family: Sequence[PairedSearches], plan: Plan) -> list[Judgement]:
    """Judge the comparisons that a study declared, together: each is corrected for the others.

    Args:
        family: Every comparison of the study's own family, those without a single search included.
        plan: What the study declared.

    Raises:
        ValueError: A comparison has more searches than were declared. Those beyond are exploratory.
    """
    most = max((scores.count for scores in family), default=0)
    if most > plan.declared:
        raise ValueError(f"{most} searches, of which {plan.declared} were declared: explore those beyond")
    estimates = [_estimate(scores) for scores in family]
    p_values = [
        plan.p(found.p_value if found else None, scores.count) for scores, found in zip(family, estimates, strict=True)
    ]
    equivalences = [_equivalence(scores, found, plan) for scores, found in zip(family, estimates, strict=True)]
    return [
        _judgement(scores, plan, plan.level(len(family), scores.count), difference, equivalence)
        for scores, difference, equivalence in zip(
            family,
            zip(p_values, holm(p_values), strict=True),
            zip(equivalences, holm(equivalences), strict=True),
            strict=True,
        )
    ]


def explore(scores: PairedSearches) -> Judgement:
    """Describe a comparison that the study did not declare: p as it stands, unadjusted, and no verdict.

    Args:
        scores: Of two arms of any kind, over any searches.
    """
    found = _estimate(scores)
    p = found.p_value if found else None
    return _judgement(scores, None, SIGNIFICANCE, (p, None), (None, None))


def word(difference: float, p_adjusted: float | None, p_no_difference_adjusted: float | None = None) -> Verdict:
    """Return the verdict on a policy from at least three searches.

    Args:
        difference: Mean of d_r.
        p_adjusted: Of "no difference"; None if there is no test, which shows nothing.
        p_no_difference_adjusted: Of "a difference that matters"; None if there is no test.
    """
    small = p_no_difference_adjusted is not None and p_no_difference_adjusted < SIGNIFICANCE
    if p_adjusted is None or not p_adjusted < SIGNIFICANCE:
        return "no_difference" if small else "inconclusive"
    if difference > 0:
        return "better_by_less" if small else "better"
    return "worse_by_less" if small else "worse"


def _estimate(scores: PairedSearches) -> Estimate | None:
    """Return the estimate over searches, or over the seeds of the only one."""
    return estimate(scores.searches[0].differences if scores.count == 1 else scores.differences)


def _equivalence(scores: PairedSearches, found: Estimate | None, plan: Plan) -> float | None:
    if plan.smallest is None or found is None or scores.count < MIN_SEARCHES:
        return None
    return plan.p(equivalence_p(found, plan.smallest), scores.count, two_sided=False)


def _judgement(
    scores: PairedSearches,
    plan: Plan | None,
    level: float,
    difference: tuple[float | None, float | None],
    equivalence: tuple[float | None, float | None],
) -> Judgement:
    """Put together what is said of one comparison.

    Args:
        scores: Its data.
        plan: Of its study; None: it is exploratory.
        level: The strictest that a p value must undercut.
        difference: p and adjusted p of "no difference".
        equivalence: Those of "a difference that matters".
    """
    found = _estimate(scores)
    smallest, sd = plan.smallest if plan else None, found.sd if found else None
    told = smallest is not None and scores.count >= MIN_SEARCHES
    return Judgement(
        scores=scores,
        estimate=found,
        p_value=difference[0],
        p_adjusted=difference[1],
        detectable=detectable(found.n, sd, level) if found else None,
        searches_needed=searches_needed(smallest, sd, level) if told and smallest and sd else None,
        p_no_difference=equivalence[0],
        p_no_difference_adjusted=equivalence[1],
        luck=luck(scores),
        advice=advice(scores, plan.declared if plan else None),
        verdict=_verdict(scores, found, plan, difference[1], equivalence[1]),
    )


def _verdict(
    scores: PairedSearches,
    found: Estimate | None,
    plan: Plan | None,
    p_adjusted: float | None,
    p_no_difference_adjusted: float | None,
) -> Verdict:
    """Return the word, if the comparison may have one: declared, complete, nothing failed, no arm without a pick."""
    if plan is None or found is None or scores.failed or scores.unpicked or scores.count < plan.searches:
        return "no_verdict"
    if scores.count >= MIN_SEARCHES:
        return word(found.mean, p_adjusted, p_no_difference_adjusted)
    if scores.count == 1 and found.n > 1:
        differ = p_adjusted is not None and p_adjusted < SIGNIFICANCE
        return "configurations_differ" if differ else "not_told_apart"
    return "no_verdict"


def _mean(means: Sequence[float]) -> float | None:
    return statistics.fmean(means) if means else None


def _sd(means: Sequence[float]) -> float | None:
    return statistics.stdev(means) if len(means) > 1 else None
