"""Verdicts in words for the report: one sentence per comparison, and the headline."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from kdstudy.analysis import MIN_PAIRS, Analysis, Comparison, Row
from kdstudy.report.comparison_text import decimals_of
from kdstudy.results import MINUS, NONE, Verdict, p_value, points, signed_points


@dataclass(frozen=True)
class Answer:
    """What one comparison says.

    Args:
        row: The comparison.
        difference: In points with its sign, or a dash.
        sentence: With interval, adjusted p and what could have been detected.
        exploratory: The same with the seeds added later; None if there are none.
    """

    row: Row
    difference: str
    sentence: str
    exploratory: str | None

    @property
    def verdict(self) -> Verdict:
        """Of the treatment, by the study's own seeds."""
        return self.row.analysis.verdict


def answers(comparison: Comparison) -> list[Answer]:
    """Return one answer per comparison, in its order."""
    decimals = decimals_of(comparison.rows)
    return [
        Answer(
            row,
            signed(row.analysis.pairs.difference, decimals),
            _sentence(row, row.analysis, decimals),
            None if row.exploratory is None else _sentence(row, row.exploratory, decimals),
        )
        for row in comparison.rows
    ]


def headline(comparison: Comparison) -> str:
    """Return the answer to the study's question in a few words."""
    rows = comparison.rows
    if not rows:
        return "Nothing to compare yet"
    counts = Counter(row.analysis.verdict for row in rows)
    treatments = list(dict.fromkeys(row.treatment for row in rows))
    who = f"{treatments[0]} against {rows[0].baseline}" if len(treatments) == 1 else "Policies compared"
    if len(counts) == 1:
        (verdict,) = counts
        outcome = verdict if len(rows) == 1 else f"{verdict} in all {len(rows)} comparisons"
    else:
        found = [
            f"{verdict} in {counts[verdict]}" for verdict in ("better", "worse", "inconclusive") if counts[verdict]
        ]
        outcome = f"{', '.join(found)} of {len(rows)} comparisons"
    return f"{who[0].upper()}{who[1:]}: {outcome}"


def _sentence(row: Row, analysis: Analysis, decimals: int) -> str:
    pairs, names = analysis.pairs, (row.treatment, row.baseline)
    if pairs.difference is None:
        return f"{names[0]} is not compared with {names[1]}: no seed has a score in both arms."
    size = signed(pairs.difference, decimals)
    if pairs.ci_low is not None and pairs.ci_high is not None:
        size += f" points, 95% interval {signed(pairs.ci_low, decimals)} to {signed(pairs.ci_high, decimals)}"
    else:
        size += " points"
    if analysis.p_adjusted is not None:
        size += f", Holm-adjusted p {p_value(analysis.p_adjusted)}"
    if analysis.verdict == "better":
        return f"{names[0]} scores higher than {names[1]}: {size} (n = {pairs.n} seeds)."
    if analysis.verdict == "worse":
        return f"{names[0]} scores lower than {names[1]}: {size} (n = {pairs.n} seeds)."
    if pairs.n < MIN_PAIRS:
        seeds = "1 seed gives" if pairs.n == 1 else f"{pairs.n} seeds give"
        return f"{seeds} no verdict on {names[0]} against {names[1]}, {MIN_PAIRS} would: {size}."
    return f"No difference is shown between {names[0]} and {names[1]}: {size}. {_reach(analysis, decimals)}"


def _reach(analysis: Analysis, decimals: int) -> str:
    if analysis.detectable is None:
        return "The differences have no spread, so there is no test."
    return f"These {analysis.pairs.n} seeds could have detected {points(analysis.detectable, decimals)} points."


def signed(fraction: float | None, decimals: int) -> str:
    """Return a difference of scores in points, with a true minus sign; a dash where there is none."""
    return NONE if fraction is None else signed_points(fraction, decimals).replace("-", MINUS)
