"""The text that `kdstudy compare` prints: warnings, a sentence per comparison, the arms, and what the numbers cover.

Scores are in percent, differences in percentage points. ASCII only, so that any terminal shows it.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

from kdstudy.analysis import POWER, SIGNIFICANCE, Comparison, Gain, GainDifference, Row
from kdstudy.report.answer_text import WIDTH, render_answer, render_warnings, wrapped
from kdstudy.report.verdicts import advice_of, decimals_of, finding, interval, name_of, qualified
from kdstudy.results import count_of
from kdstudy.study import MIN_SEARCHES


def render_comparison(comparison: Comparison) -> str:
    """Return the text of a comparison, without a newline at the end."""
    decimals, several = decimals_of(comparison), len(comparison.answers) > 1
    warnings = render_warnings([warned.message for warned in comparison.warnings])
    told = [render_answer(answer, decimals, named=several) for answer in comparison.answers]
    blocks = [warnings, _verdicts(comparison, decimals), *told]
    if comparison.gain_differences:
        blocks.append(_gains(comparison.gain_differences, decimals))
    advice = advice_of(comparison)
    if advice is not None:
        blocks.append(wrapped(f"Advice: {advice}."))
    if comparison.rows:
        blocks.append("\n".join(map(wrapped, footnotes(comparison))))
    return "\n\n".join(filter(None, blocks))


def _verdicts(comparison: Comparison, decimals: int) -> str:
    """Return the sentences, those of the studies' own comparisons first."""
    if not comparison.rows:
        return wrapped(
            "Nothing to compare: no transfer has both a constant arm and another policy. "
            "'--baseline none' compares with plain training, if the study has it."
        )
    blocks = []
    declared, others = comparison.verdicts, [row for row in comparison.rows if row.family == "exploratory"]
    if declared:
        blocks.append(_sentences(_covers(declared), declared, comparison, decimals))
    if others:
        said = (
            "Exploratory: unadjusted p, and no verdict:"
            if not declared
            else ("Exploratory, with unadjusted p (the verdicts above stand):")
        )
        blocks.append(_sentences(said, others, comparison, decimals))
    return "\n\n".join(blocks)


def _covers(rows: Sequence[Row]) -> str:
    """Return the title of the study's own comparisons: over how much, and against what."""
    counts = {(row.judgement.scores.count, row.judgement.scores.seeds) for row in rows}
    over = "searches"
    if len(counts) == 1:
        ((searches, seeds),) = counts
        over = f"{count_of(searches, 'search', 'searches')} of {count_of(seeds, 'seed')} each"
        if searches == 1:
            over = f"{count_of(seeds, 'seed')} of what one search picked"
    baselines = {row.baseline for row in rows}
    if len(baselines) > 1:
        return f"Test score over {over}:"
    (baseline,) = baselines
    rate = "the constant rate" if baseline == "constant" else f"policy {baseline}"
    against = f"arm {baseline}" if "/" in baseline else f"{rate} of the same transfer"
    return f"Test score over {over}, against {against}:"


def _sentences(title: str, rows: Iterable[Row], comparison: Comparison, decimals: int) -> str:
    wrap = partial(textwrap.fill, width=WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    lines = []
    for row in rows:
        verdict = "" if row.family == "exploratory" else f" {qualified(row, comparison)}:"
        lines.append(wrap(f"{name_of(row, comparison)}:{verdict} {finding(row, decimals)}"))
    return "\n".join([title, *lines])


def _gains(differences: Iterable[GainDifference], decimals: int) -> str:
    lines = ["Gains between studies:"]
    for one in differences:
        if one.difference is None:
            size = f"not told, since a study has fewer than {MIN_SEARCHES} searches"
        else:
            size = interval(one.difference, one.ci_low, one.ci_high, decimals)
        lines.append(f"  {one.transfer}: {one.treatment}, gain in {_gain(one.second)}")
        lines.append(f"    minus gain in {_gain(one.first)}: {size}")
    return "\n".join(lines)


def _gain(gain: Gain) -> str:
    error = "unknown" if gain.difficulty is None else f"{gain.difficulty:.1%}"
    return f"{gain.study_id} ({count_of(gain.searches, 'search', 'searches')}, teacher's test error {error})"


def footnotes(comparison: Comparison) -> list[str]:
    """Return what the numbers cover, in paragraphs."""
    own = _families(comparison)
    units = {row.judgement.unit for row in comparison.rows if row.judgement.estimate is not None}
    notes = ["Scores: after the last epoch, in percent, means over searches; differences in points."]
    if units != {"seed"}:
        notes.append(
            "Interval: 95%, unadjusted. It covers the luck of searches and seeds, for this teacher and these test "
            "images."
        )
    if "seed" in units:
        notes.append(
            "Interval of a single search: 95%, unadjusted. It covers the seeds of the two configurations that the "
            "search picked; another search picks others, so it says nothing of the policies."
        )
    over = "paired seeds" if units == {"seed"} else f"searches, from {MIN_SEARCHES} on,"
    notes.append(
        f"Verdict: t test over {over} at {SIGNIFICANCE:.0%}, Holm-adjusted over {own}. Could have detected: the "
        f"smallest true difference that it finds with {POWER:.0%} power if they vary as these did."
        if own
        else "Nothing here is one of the study's own comparisons, so nothing has a verdict."
    )
    if any(row.estimand == "equal_rates" for row in comparison.rows):
        notes.append("Asked at equal rates: the policies of a transfer went together in what search.together names.")
    if any(row.diverged_baseline or row.diverged_treatment for row in comparison.rows):
        notes.append("Diverged: confirmation runs whose loss was not finite; they score chance.")
    return notes


def _families(comparison: Comparison) -> str:
    """Return what each study's verdicts are corrected for; empty without any."""
    sizes = Counter(row.study_id for row in comparison.verdicts)
    if len(sizes) < 2:
        return "".join(f"the study's {count_of(size, 'comparison')}" for size in sizes.values())
    same = len(set(sizes.values())) == 1
    return f"each study's {count_of(next(iter(sizes.values())), 'comparison') if same else 'own comparisons'}"
