"""The text that `kdstudy compare` prints: a sentence per comparison, a table, and what the numbers cover.

Scores and shares are in percent, differences in percentage points. ASCII only, so that any terminal shows it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from functools import partial

from kdstudy.analysis import MIN_PAIRS, POWER, SIGNIFICANCE, Analysis, Comparison, Gain, GainDifference, Row
from kdstudy.results import UNKNOWN, p_value, points, signed_points, table

_WIDTH = 100


def render_comparison(comparison: Comparison) -> str:
    """Return the text of a comparison, without a newline at the end."""
    if not comparison.rows:
        return (
            "Nothing to compare: no transfer has both a constant arm and another policy. "
            "'--baseline none' compares with plain training, if the study has it."
        )
    decimals = decimals_of(comparison.rows)
    blocks = [_sentences(comparison, decimals), _table(comparison, decimals)]
    if any(row.exploratory for row in comparison.rows):
        blocks.append(_exploratory(comparison, decimals))
    if comparison.gain_differences:
        blocks.append(_gains(comparison.gain_differences, decimals))
    wrap = partial(textwrap.fill, width=_WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    blocks.append("\n".join(wrap(note) for note in footnotes(comparison)))
    return "\n\n".join(blocks)


def _sentences(comparison: Comparison, decimals: int) -> str:
    against = _against(comparison.rows[0])
    lines = [f"  {_name(row, comparison)} {_finding(row.analysis, decimals)}" for row in comparison.rows]
    return "\n".join([f"Test score over paired seeds, against {against}:", *lines])


def _against(row: Row) -> str:
    return f"arm {row.baseline}" if "/" in row.baseline else f"the {row.baseline} rate of the same transfer"


def _name(row: Row, comparison: Comparison) -> str:
    study = f"{row.study_id}, " if len(comparison.study_ids) > 1 else ""
    return f"{study}{row.transfer}: {row.treatment}"


def _finding(analysis: Analysis, decimals: int) -> str:
    pairs = analysis.pairs
    if pairs.difference is None:
        return "not compared: no seed has a score in both arms"
    found = _interval(pairs.difference, pairs.ci_low, pairs.ci_high, decimals)
    if pairs.p_value is not None:
        found += f", p {p_value(pairs.p_value)} (Holm {_or_unknown(analysis.p_adjusted, p_value)})"
    return f"{found}: {analysis.verdict} (n = {pairs.n}; {_reach(analysis, decimals)})"


def _reach(analysis: Analysis, decimals: int) -> str:
    """Return what the seeds could have shown, or why they could show nothing."""
    if analysis.pairs.n < MIN_PAIRS:
        return f"a verdict takes {MIN_PAIRS} seeds"
    if analysis.detectable is None:
        return "equal scores for every seed" if analysis.pairs.difference == 0 else "no spread, so no test"
    return f"could have detected {points(analysis.detectable, decimals)} points"


def _table(comparison: Comparison, decimals: int) -> str:
    several = len(comparison.study_ids) > 1
    header = ["study"] * several + [
        "transfer",
        "baseline",
        "treatment",
        "n",
        "difference",
        "effect",
        "P(better)",
        "diverged",
        "verdict",
    ]
    lines = []
    for row in comparison.rows:
        pairs = row.analysis.pairs
        lines.append(
            [row.study_id] * several
            + [
                row.transfer,
                f"{row.baseline} {_mean(pairs.baseline_mean, pairs.baseline_sd, decimals)}",
                f"{row.treatment} {_mean(pairs.treatment_mean, pairs.treatment_sd, decimals)}",
                str(pairs.n),
                _or_unknown(pairs.difference, lambda value: signed_points(value, decimals)),
                _or_unknown(pairs.effect_size, lambda value: f"{value:+.2f}"),
                _or_unknown(pairs.p_improvement, _percent),
                f"{_or_unknown(row.analysis.diverged_baseline, _percent)}, "
                f"{_or_unknown(row.analysis.diverged_treatment, _percent)}",
                row.analysis.verdict,
            ]
        )
    return table(header, lines)


def _exploratory(comparison: Comparison, decimals: int) -> str:
    lines = [
        f"  {_name(row, comparison)} {_finding(row.exploratory, decimals)}"
        for row in comparison.rows
        if row.exploratory is not None
    ]
    return "\n".join(["Exploratory, with the seeds added later (the verdicts above stand):", *lines])


def _gains(differences: Iterable[GainDifference], decimals: int) -> str:
    lines = ["Gains between studies:"]
    for one in differences:
        gap = one.difference
        size = "unknown" if gap is None else _interval(gap, one.ci_low, one.ci_high, decimals)
        lines.append(f"  {one.transfer}: {one.treatment}, gain in {_gain(one.second)}")
        lines.append(f"    minus gain in {_gain(one.first)}: {size}")
    return "\n".join(lines)


def _gain(gain: Gain) -> str:
    error = "unknown" if gain.difficulty is None else f"{gain.difficulty:.1%}"
    return f"{gain.study_id} (n = {gain.n}, teacher's test error {error})"


def footnotes(comparison: Comparison) -> list[str]:
    """Return what the numbers cover, in paragraphs."""
    count = len(comparison.rows)
    notes = [
        "Scores: test score after the last epoch in percent, mean (sd) over the n seeds that have one in "
        "both arms; differences in points.",
        "Interval: 95%, unadjusted. It covers the seeds of the configurations compared, which the search "
        "selected; not the luck of the search.",
        f"Verdict: paired t test at {SIGNIFICANCE:.0%}, Holm-adjusted over {_count(count, 'comparison')}, "
        f"from {MIN_PAIRS} seeds on. Could have detected: the smallest true difference that it finds with "
        f"{POWER:.0%} power if seeds vary as these did.",
        "Effect: mean / sd of the differences. P(better): share of seeds that favour the treatment, ties by "
        "half. Diverged: share of confirmation runs whose loss was not finite, baseline and treatment.",
    ]
    notes += [
        f"{_name(row, comparison)}, {_count(row.analysis.left_out, 'seed')} left out: a run diverged or failed."
        for row in comparison.rows
        if row.analysis.left_out
    ]
    return notes


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def decimals_of(rows: Iterable[Row]) -> int:
    """Return 1, or 2 where an interval is so narrow that tenths of a point would hide it."""
    ends = [(row.analysis.pairs.ci_low, row.analysis.pairs.ci_high) for row in rows]
    widths = [high - low for low, high in ends if low is not None and high is not None]
    return 2 if any(0 < width < 0.01 for width in widths) else 1


def _or_unknown(value: float | None, show: Callable[[float], str]) -> str:
    return UNKNOWN if value is None else show(value)


def _mean(mean: float | None, sd: float | None, decimals: int) -> str:
    if mean is None:
        return UNKNOWN
    return points(mean, decimals) + ("" if sd is None else f" ({points(sd, decimals)})")


def _interval(difference: float, low: float | None, high: float | None, decimals: int) -> str:
    ends = "" if low is None or high is None else f" [{signed_points(low, decimals)}, {signed_points(high, decimals)}]"
    return f"{signed_points(difference, decimals)} points{ends}"


def _percent(share: float) -> str:
    return f"{share:.0%}"
