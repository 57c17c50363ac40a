"""Verdicts in words: what a comparison says, why it says no more, and the headline. For terminal and page alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kdstudy.analysis import Comparison, Row
from kdstudy.results import MINUS, NONE, Verdict, count_of, in_points, p_value, points, signed_points
from kdstudy.study import MIN_SEARCHES

_WORDS: dict[Verdict, str] = {
    "better": "better",
    "worse": "worse",
    "better_by_less": "better, by less than {smallest}",
    "worse_by_less": "worse, by less than {smallest}",
    "no_difference": "no difference larger than {smallest}",
    "inconclusive": "inconclusive",
    "configurations_differ": "these two configurations differ",
    "not_told_apart": "these two configurations are not told apart",
    "no_verdict": "no verdict",
}
_SHORT: dict[Verdict, str] = {
    "configurations_differ": "configurations differ",
    "not_told_apart": "configurations not told apart",
}
"""Of several comparisons."""


@dataclass(frozen=True)
class Statement:
    """What one comparison says.

    Args:
        row: The comparison.
        verdict: In words.
        difference: In points with its sign, or a dash.
        sentence: With interval, adjusted p and what could have been detected.
    """

    row: Row
    verdict: str
    difference: str
    sentence: str


def statements(comparison: Comparison) -> list[Statement]:
    """Return one statement per comparison, in its order."""
    decimals = decimals_of(comparison)
    return [
        Statement(
            row,
            verdict_of(row),
            signed(_mean(row), decimals),
            ": ".join(filter(None, (caveat(row, comparison), f"{finding(row, decimals, MINUS)}."))),
        )
        for row in comparison.rows
    ]


def caveat(row: Row, comparison: Comparison) -> str:
    """Return why a comparison says nothing of its policy, whatever its verdict; empty where nothing speaks for that."""
    answer = next((answer for answer in comparison.answers if answer.study_id == row.study_id), None)
    if answer is not None and all(answer.of(arm).learnt_nothing for arm in row.arms):
        return "but the students are at chance, so this says nothing of the policy"
    if row.same_everywhere:
        return "but every run scored exactly the same under both, so this says nothing of the policy"
    return ""


def qualified(row: Row, comparison: Comparison) -> str:
    """Return a comparison's verdict in words, with its caveat."""
    return ", ".join(filter(None, (verdict_of(row), caveat(row, comparison))))


def headline(comparison: Comparison) -> str:
    """Return the answer to the study's question in a few words."""
    rows = comparison.verdicts
    lost = [lost for answer in comparison.answers for lost in answer.lost]
    everything = next((each.summary for each in lost if each.all_arms), None)
    if everything is not None and not _any_scores(comparison):
        return f"Nothing could be compared: {everything}"
    if not rows:
        return "Nothing to compare yet"
    treatments = list(dict.fromkeys(row.treatment for row in rows))
    baselines = {row.baseline for row in rows}
    one = len(treatments) == len(baselines) == 1
    who = f"{treatments[0]} against {rows[0].baseline}" if one else "Policies compared"
    if all(row.judgement.estimate is None for row in rows):
        outcome = f"nothing could be compared, since {lost[0].summary}" if lost else "nothing has been confirmed yet"
    else:
        outcome = qualified(rows[0], comparison) if len(rows) == 1 else _in_numbers(rows, comparison)
    return f"{who[0].upper()}{who[1:]}: {outcome}"


def _in_numbers(rows: Sequence[Row], comparison: Comparison) -> str:
    """Return how many comparisons came to which verdict, and how many of them say nothing."""
    counts = Counter(_SHORT.get(row.verdict) or verdict_of(row) for row in rows)
    if len(counts) == 1:
        outcome = f"{next(iter(counts))} in {'both' if len(rows) == 2 else f'all {len(rows)}'} comparisons"
    else:
        outcome = ", ".join(f"{verdict} ({count} of {len(rows)})" for verdict, count in counts.items())
    void = sum(bool(caveat(row, comparison)) for row in rows)
    return outcome + (f"; {void} of them say{'s' * (void == 1)} nothing of the policy" if void else "")


def _any_scores(comparison: Comparison) -> bool:
    return any(arm.scores for answer in comparison.answers for arm in answer.arms)


def verdict_of(row: Row) -> str:
    """Return a comparison's verdict in words; "exploratory" for one that no study declared."""
    if row.family == "exploratory":
        return "exploratory"
    smallest = "" if row.smallest is None else in_points(row.smallest)
    return _WORDS[row.verdict].format(smallest=smallest)


def name_of(row: Row, comparison: Comparison) -> str:
    """Return what a comparison is about: what differs between the rows of the call."""
    study = f"{' and '.join(row.together) or row.study_id}, " if len(comparison.study_ids) > 1 else ""
    added = ", with what was added later" if row.later else ""
    return f"{study}{row.transfer}: {row.treatment}{against(row, comparison)}{added}"


def against(row: Row, comparison: Comparison) -> str:
    """Return the baseline where the rows of a call differ in theirs."""
    return f" against {row.baseline}" if len({each.baseline for each in comparison.rows}) > 1 else ""


def finding(row: Row, decimals: int, minus: str = "-") -> str:
    """Return the numbers of a comparison: difference, interval, p, searches won, and what could have been seen."""
    judgement, scores = row.judgement, row.judgement.scores
    if judgement.estimate is None:
        return "; ".join(["not compared, since no search has a score in both arms", *_gaps(row)])
    parts = [interval(judgement.estimate.mean, judgement.estimate.ci_low, judgement.estimate.ci_high, decimals)]
    if judgement.p_value is not None:
        parts.append(_p(judgement.p_value, judgement.p_adjusted))
    if row.judgement.unit == "search":
        parts.append(f"won {scores.won} of {scores.count} searches")
    if judgement.p_no_difference is not None and row.smallest is not None:
        p = _p(judgement.p_no_difference, judgement.p_no_difference_adjusted)
        parts.append(f"{p} for {in_points(row.smallest)} or more")
    return "; ".join([", ".join(parts).replace("-", minus), *_gaps(row), *_limits(row, decimals)])


def _p(value: float, adjusted: float | None) -> str:
    return f"p {p_value(value)}" + ("" if adjusted is None else f" (Holm {p_value(adjusted)})")


def _gaps(row: Row) -> list[str]:
    """Return what a verdict lacks."""
    scores, found = row.judgement.scores, []
    if scores.failed:
        found.append(f"{count_of(scores.failed, 'run')} failed")
    if scores.unpicked:
        found.append(f"an arm has no pick in {count_of(scores.unpicked, 'search', 'searches')}")
    missing = row.declared - scores.count - scores.unpicked
    if missing > 0 and not scores.failed:
        found.append(f"{count_of(missing, 'search is', 'searches are')} still to come")
    return found


def _limits(row: Row, decimals: int) -> list[str]:
    """Return why there is no more of a verdict, and what could have been seen."""
    judgement, scores = row.judgement, row.judgement.scores
    found = []
    estimate = judgement.estimate
    if estimate is not None and estimate.n > 1 and estimate.p_value is None:
        found.append(f"every {judgement.unit} differs by the same, so there is no test")
    if 1 < scores.count < MIN_SEARCHES and not _gaps(row):
        found.append(f"a verdict takes {MIN_SEARCHES} searches")
    if judgement.detectable is not None:
        found.append(f"could have detected {points(judgement.detectable, decimals)} points")
    if judgement.verdict == "inconclusive" and judgement.searches_needed is not None and row.smallest is not None:
        found.append(f"{in_points(row.smallest)} would take {judgement.searches_needed} searches")
    return found


def advice_of(comparison: Comparison) -> str | None:
    """Return what further compute would buy, in one sentence: of the comparison that is least certain."""
    rows = [row for row in comparison.verdicts if row.judgement.advice is not None]
    worst = max(rows, key=_width, default=None)
    if worst is None or worst.judgement.advice is None:
        return None
    name = name_of(worst, comparison)
    return f"{name}: {worst.judgement.advice}" if len(rows) > 1 else worst.judgement.advice


def _width(row: Row) -> float:
    estimate = row.judgement.estimate
    if estimate is None or estimate.ci_low is None or estimate.ci_high is None:
        return float("inf")
    return estimate.ci_high - estimate.ci_low


def _mean(row: Row) -> float | None:
    return None if row.judgement.estimate is None else row.judgement.estimate.mean


def interval(difference: float, low: float | None, high: float | None, decimals: int) -> str:
    """Return a difference in points with its interval, if there is one."""
    ends = "" if low is None or high is None else f" [{signed_points(low, decimals)}, {signed_points(high, decimals)}]"
    return f"{signed_points(difference, decimals)} points{ends}"


def decimals_of(comparison: Comparison) -> int:
    """Return 1, or 2 where an interval is so narrow that tenths of a point would hide it."""
    return 2 if any(0 < _width(row) < 0.01 for row in comparison.rows) else 1


def signed(fraction: float | None, decimals: int) -> str:
    """Return a difference of scores in points, with a true minus sign; a dash where there is none."""
    return NONE if fraction is None else signed_points(fraction, decimals).replace("-", MINUS)
