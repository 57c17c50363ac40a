"""What the searches of benchmarks/calibration.py say: how often verdicts are wrong, and how often they find a harm."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.calibration import CASES, CHANCE, SEARCHES, SEEDS, Line
from kdstudy.analysis import SIGNIFICANCE, Estimate, Judgement, PairedSearches, Plan, SearchScores, judge
from kdstudy.analysis.estimates import estimate
from kdstudy.analysis.luck import luck
from kdstudy.analysis.planning import power
from kdstudy.results import markdown_table

REQUIRED_FALSE, REQUIRED_COVERAGE = 0.10, 0.90
HARMED = "short"
OLD_SEEDS = 5
GROUPS, RESAMPLES = 2000, 300

FloatArray = NDArray[np.float64]
Counted = tuple[int, int]
"""So many of so many."""


@dataclass(frozen=True)
class Searches:
    """The searches of one cell, or of several.

    Args:
        name: Of the row.
        lines: In order of their number within each cell.
    """

    name: str
    lines: Sequence[Line]

    @property
    def harms(self) -> bool:
        """Whether the treatment is worse."""
        return any(line["case"] == HARMED for line in self.lines)

    @property
    def differences(self) -> FloatArray:
        """d_r of every search with a pick in both arms."""
        return np.array(paired(self.lines).differences)

    def studies(self) -> list[Judgement]:
        """Return the verdicts of all whole studies, as the product gives them: disjoint groups, by the study's seed."""
        groups: dict[tuple[str, str, int], list[Line]] = {}
        for line in self.lines:
            groups.setdefault((line["case"], line["sampler"], line["number"] // SEARCHES), []).append(line)
        whole = [paired(group) for group in groups.values() if len(group) == SEARCHES]
        return [judge([scores], Plan(SEARCHES))[0] for scores in whole]

    def by_one_search(self) -> Counted:
        """Return how many searches the old rule would have called better or worse: a paired t test over five seeds."""
        each = [paired([line], OLD_SEEDS) for line in self.lines if _seeds(line) >= OLD_SEEDS]
        p_values = [judge([scores], Plan(1))[0].p_value for scores in each if scores.count]
        return sum(p is not None and p < SIGNIFICANCE for p in p_values), len(p_values)


def paired(lines: Iterable[Line], seeds: int = SEEDS) -> PairedSearches:
    """Return the scores of some searches, over the first so many seeds; a run that diverged scores chance level."""
    found, unpicked = [], 0
    for line in lines:
        arms = [line["confirm"][policy][:seeds] for policy in ("constant", CASES[line["case"]].treatment)]
        if not all(arms):
            unpicked += 1
            continue
        found.append(SearchScores(*(tuple(CHANCE if score is None else score for score in arm) for arm in arms)))
    return PairedSearches(tuple(found), unpicked=unpicked)


def _seeds(line: Line) -> int:
    return CASES[line["case"]].seeds


def clopper_pearson(counted: Counted) -> tuple[float, float]:
    """Return the exact 95 % interval of a chance (Clopper & Pearson 1934); 0 to 1 where nothing was tried."""
    if not counted[1]:
        return 0.0, 1.0
    found = stats.binomtest(*counted).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


def count(judgements: Sequence[Judgement], what: Callable[[Judgement], bool]) -> Counted:
    """Return in how many of the studies that have a verdict something holds."""
    judged = [each for each in judgements if each.verdict != "no_verdict"]
    return sum(map(what, judged)), len(judged)


def is_found(judgement: Judgement) -> bool:
    """Return whether the treatment is called better or worse."""
    return judgement.verdict in ("better", "worse")


def covers_none(judgement: Judgement) -> bool:
    """Return whether the 95 % interval holds 0."""
    found = judgement.estimate
    assert found is not None
    return found.ci_low is not None and found.ci_high is not None and found.ci_low <= 0 <= found.ci_high


def regrouped(differences: FloatArray, *, signs: bool) -> float:
    """Return how often random groups of five searches are called better or worse.

    Groups share searches, hence this is a second figure beside the disjoint ones: less noise, other assumptions.

    Args:
        differences: d_r of searches without an order.
        signs: Give each a random sign, as arms that differ by luck alone could have been called either way round.
    """
    rng = np.random.default_rng(0)
    drawn = rng.choice(differences, (GROUPS, SEARCHES))
    if signs:
        drawn = drawn * rng.choice([-1.0, 1.0], drawn.shape)
    error = drawn.std(axis=1, ddof=1) / math.sqrt(SEARCHES)
    reach = float(stats.t.isf(SIGNIFICANCE / 2, SEARCHES - 1)) * error
    return float(np.mean((error > 0) & (np.abs(drawn.mean(axis=1)) > reach)))


def promised(differences: FloatArray) -> float:
    """Return the power that the formula gives five searches of this mean and sd."""
    return power(float(differences.mean() / differences.std(ddof=1)), SEARCHES)


def mean_over(cells: Sequence[FloatArray], statistic: Callable[[FloatArray], float]) -> float:
    """Return the mean of a statistic over cells, each by its number of searches."""
    return float(np.average([statistic(cell) for cell in cells], weights=[len(cell) for cell in cells]))


def over_cells(cells: Sequence[FloatArray], statistic: Callable[[FloatArray], float]) -> tuple[float, float, float]:
    """Return `mean_over` with its 95 % bootstrap interval, whose searches are drawn within the cells."""
    rng = np.random.default_rng(0)
    resampled = [mean_over([rng.choice(cell, len(cell)) for cell in cells], statistic) for _ in range(RESAMPLES)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return mean_over(cells, statistic), float(low), float(high)


def report(lines: Sequence[Line]) -> str:
    """Return all of it, in Markdown."""
    return "\n\n".join((*counted(lines), *estimated(lines)))


def counted(lines: Sequence[Line]) -> list[str]:
    """Return the tables that hold nothing random."""
    harmless, harmed = cells_of(lines)
    parts = [scatter([*harmless, *harmed])]
    if harmless:
        parts += [false_positives(rows_of(harmless)), verdict_on(together(harmless))]
    return [*parts, powers(rows_of(harmed))] if harmed else parts


def estimated(lines: Sequence[Line]) -> list[str]:
    """Return the second figures, which are drawn at random, from a fixed seed."""
    harmless, harmed = cells_of(lines)
    header, parts = ["case, sampler", "called better or worse, regrouped"], []
    if harmless:
        rows = [
            [row.name, _rate(over_cells(cells, partial(regrouped, signs=True)))] for row, cells in rows_of(harmless)
        ]
        parts.append(markdown_table(header, rows))
    if harmed:
        rows = [
            [row.name, _rate(over_cells(cells, partial(regrouped, signs=False))), _rate(over_cells(cells, promised))]
            for row, cells in rows_of(harmed)
        ]
        parts.append(markdown_table([*header, "promised"], rows))
    return parts


def rows_of(cells: Sequence[Searches]) -> list[tuple[Searches, list[FloatArray]]]:
    """Return each cell, and all together if they are several, with the d_r of the cells in it."""
    rows = [(cell, [cell.differences]) for cell in cells]
    return rows if len(cells) == 1 else [*rows, (together(cells), [cell.differences for cell in cells])]


def cells_of(lines: Sequence[Line]) -> tuple[list[Searches], list[Searches]]:
    """Return the searches by case and sampler: of the cases that do nothing, and of the one that harms."""
    cells: dict[tuple[str, str], list[Line]] = {}
    for line in sorted(lines, key=lambda line: (list(CASES).index(line["case"]), line["sampler"], line["number"])):
        cells.setdefault((line["case"], line["sampler"]), []).append(line)
    named = [Searches(", ".join(key), cell) for key, cell in cells.items()]
    return [cell for cell in named if not cell.harms], [cell for cell in named if cell.harms]


def together(cells: Sequence[Searches]) -> Searches:
    """Return all searches; those of different cells are independent, as each study has its own seed."""
    return Searches("all", [line for cell in cells for line in cell.lines])


def scatter(cells: Sequence[Searches]) -> str:
    """Return what the searches of each cell are like."""
    rows = []
    for cell in cells:
        scores = paired(cell.lines)
        found, parts = estimate(scores.differences), luck(scores)
        base = statistics.fmean(scores.baseline_means)
        rows.append(
            [
                cell.name,
                str(len(cell.lines)),
                str(scores.unpicked),
                str(_diverged(cell.lines)),
                f"{100 * base:.1f} %",
                _mean(found),
                "" if found is None or found.sd is None else _points(found.sd),
                "" if parts is None or parts.search_share is None else f"{100 * parts.search_share:.0f} %",
                f"{statistics.fmean(line['seconds'] for line in cell.lines):.1f}",
            ]
        )
    header = ["case, sampler", "searches", "without a pick", "diverged runs", "`constant`, test", "difference, points"]
    return markdown_table([*header, "sd of d_r", "luck of the search", "CPU s per search"], rows)


def false_positives(rows: Sequence[tuple[Searches, list[FloatArray]]]) -> str:
    """Return how often a treatment that does nothing is called better or worse."""
    cells = []
    for row, _ in rows:
        studies = row.studies()
        cells.append(
            [
                row.name,
                _share(row.by_one_search()),
                _share(count(studies, is_found)),
                _share(count(studies, covers_none)),
                str(sum(study.verdict == "no_verdict" for study in studies)),
            ]
        )
    header = ["case, sampler", "old rule, one search", "new rule, five searches", "0 in the 95 % interval"]
    return markdown_table([*header, "no verdict"], cells)


def verdict_on(cell: Searches) -> str:
    """Return whether what is required of the new rule is met."""
    studies = cell.studies()
    upper, covered = clopper_pearson(count(studies, is_found))[1], count(studies, covers_none)
    share = covered[0] / covered[1] if covered[1] else 0.0
    return "\n".join(
        [
            f"- Required: false positives' upper 95 % limit below {REQUIRED_FALSE:.2f}: {upper:.4f}, "
            f"{_met(upper < REQUIRED_FALSE)}",
            f"- Required: coverage of 0 at least {REQUIRED_COVERAGE:.2f}: {share:.3f}, "
            f"{_met(share >= REQUIRED_COVERAGE)}",
        ]
    )


def powers(rows: Sequence[tuple[Searches, list[FloatArray]]]) -> str:
    """Return how often a treatment that harms is found, and how often the formula says it will be."""
    cells = [
        [
            row.name,
            _mean(estimate(paired(row.lines).differences)),
            f"{100 * mean_over(cells, promised):.1f} %",
            _share(count(row.studies(), lambda study: study.verdict == "worse")),
            _share(count(row.studies(), lambda study: study.verdict == "better")),
        ]
        for row, cells in rows
    ]
    header = ["case, sampler", "difference, points", "promised", "called worse", "called better"]
    return markdown_table(header, cells)


def _diverged(lines: Iterable[Line]) -> int:
    return sum(score is None for line in lines for arm in line["confirm"].values() for score in arm)


def _mean(found: Estimate | None) -> str:
    if found is None or found.ci_low is None or found.ci_high is None:
        return ""
    return f"{_points(found.mean)} [{_points(found.ci_low)}, {_points(found.ci_high)}]"


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def _share(counted: Counted) -> str:
    if not counted[1]:
        return ""
    low, high = clopper_pearson(counted)
    return f"{counted[0]} of {counted[1]}: {_rate((counted[0] / counted[1], low, high))}"


def _rate(found: tuple[float, float, float]) -> str:
    rate, low, high = found
    return f"{100 * rate:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _met(holds: bool) -> str:
    return "met" if holds else "missed"
