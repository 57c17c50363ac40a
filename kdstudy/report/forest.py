"""The figure of what was found: a row per comparison, a ring per search, a tick per seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdstudy.analysis import Comparison, Row
from kdstudy.report.figures import FAINT, MUTED, Figure, figure, row_labels, text
from kdstudy.report.verdicts import against
from kdstudy.study import ArmId

_ROW_PIXELS = 62


def forest(comparison: Comparison, colours: Mapping[str, str]) -> Figure:
    """Return the differences in points: a dot per search with its seeds as ticks, their mean, its 95 % interval.

    Behind the rows of a study that names a smallest difference lies the zone of what would not matter.

    Args:
        comparison: At least one row.
        colours: By arm.
    """
    data = []
    rows = list(reversed(comparison.rows))  # the first on top
    for place, row in enumerate(rows):
        data += _forest_row(row, place, colours[ArmId(row.transfer, row.treatment).name])
    labels = [text(forest_label(row, comparison)) for row in rows]
    return figure(
        data,
        height=70 + _ROW_PIXELS * len(rows),
        hovermode="closest",
        **row_labels(labels, 0.08),
        shapes=[_zone(row.smallest, place) for place, row in enumerate(rows) if row.smallest is not None],
        xaxis={
            "title": {"text": "difference of test scores, points"},
            "range": _around_zero(comparison.rows),
            "zeroline": True,
            "zerolinecolor": MUTED,
            "zerolinewidth": 1,
        },
        yaxis={
            "visible": False,
            "range": [-0.5, len(rows) - 0.4],
            "fixedrange": True,
        },
    )


def _zone(smallest: float, place: int) -> Figure:
    """Return the band of the differences that would not matter."""
    return {
        "type": "rect",
        "layer": "below",
        "x0": -100 * smallest,
        "x1": 100 * smallest,
        "y0": place - 0.45,
        "y1": place + 0.45,
        "fillcolor": FAINT,
        "opacity": 0.35,
        "line": {"width": 0},
    }


def _around_zero(rows: Sequence[Row]) -> list[float]:
    """Return the range, in points, of everything drawn and of zero, with a margin."""
    ends = [0.0]
    for row in rows:
        estimate = row.judgement.estimate
        seeds = [difference for search in row.judgement.scores.searches for difference in search.differences]
        found = () if estimate is None else (estimate.mean, estimate.ci_low, estimate.ci_high)
        zone = () if row.smallest is None else (-row.smallest, row.smallest)
        ends += [*seeds, *zone, *(end for end in found if end is not None)]
    margin = 0.06 * (max(ends) - min(ends)) or 0.01
    return [100 * (min(ends) - margin), 100 * (max(ends) + margin)]


def forest_label(row: Row, comparison: Comparison) -> str:
    """Return the name of a row: of its arm, and of what else differs between the rows."""
    later = " (with later ones)" if row.later else ""
    name = f"{row.transfer}: {row.treatment}{against(row, comparison)}{later}"
    study = "together" if row.together else row.study_id[-8:]
    return f"{name} ({row.dataset}, {study})" if len(comparison.study_ids) > 1 else name


def _forest_row(row: Row, place: int, colour: str) -> list[Figure]:
    searches = row.judgement.scores.searches
    seeds = [
        (100 * difference, f"search {number}, one seed")
        for number, search in enumerate(searches)
        for difference in search.differences
    ]
    means = [(100 * d, f"search {number}") for number, d in enumerate(row.judgement.scores.differences)]
    traces = [
        _dots(seeds, place - 0.36, {"symbol": "line-ns-open", "size": 8, "color": colour, "opacity": 0.45}),
        _dots(means, place - 0.22, {"symbol": "circle-open", "size": 7, "color": colour}),
    ]
    estimate = row.judgement.estimate
    if estimate is None:
        return traces
    middle = place - 0.02
    if estimate.ci_low is not None and estimate.ci_high is not None:
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [100 * estimate.ci_low, 100 * estimate.ci_high],
                "y": [middle, middle],
                "line": {"width": 3, "color": colour},
                "hovertemplate": "95% interval: %{x:+.2f}<extra></extra>",
            }
        )
    return [*traces, _dots([(100 * estimate.mean, "mean")], middle, {"size": 11, "color": colour})]


def _dots(points: Sequence[tuple[float, str]], height: float, marker: Figure) -> Figure:
    """Return marks at one height, each with what it is."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [x for x, _ in points],
        "y": [height] * len(points),
        "marker": marker,
        "text": [name for _, name in points],
        "hovertemplate": "%{text}: %{x:+.2f}<extra></extra>",
    }
