"""Plotly figures as plain values: what was found, learning curves, layers, cost.

They are the JSON that plotly's script takes. Its Python classes would build the same and check the names of properties,
for about 0.3 s once and 5 ms per figure; `tests/report/test_page.py` has them check every figure instead.

Colours are names (`kdstudy.report.colours`); fonts, margins and grid are the page's, one place for all figures.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from kdstudy.analysis import Comparison, Row
from kdstudy.report.cost import Cost
from kdstudy.report.curves import Curve, LayerCurve
from kdstudy.report.model import StudyReport
from kdstudy.study import ArmId

Figure = dict[str, Any]
INK, MUTED, FAINT = "var(--ink)", "var(--muted)", "var(--faint)"
_ROW_PIXELS = 60


def text(value: Any) -> str:
    """Return ``value`` as text of a figure: plotly reads tags, and names are a user's."""
    return html.escape(str(value), quote=False)


def figure(data: list[Figure], **layout: Any) -> Figure:
    """Return a figure."""
    return {"data": data, "layout": {"showlegend": False, **layout}}


def forest(comparison: Comparison, colours: Mapping[str, str]) -> Figure:
    """Return the differences in points: a dot per search with its seeds as ticks, their mean, its 95 % interval.

    Behind the rows of a study that names a smallest difference lies the zone of what would not matter.

    Args:
        comparison: At least one row.
        colours: By arm.
    """
    several = len(comparison.study_ids) > 1
    data = []
    rows = list(reversed(comparison.rows))  # the first on top
    for place, row in enumerate(rows):
        data += _forest_row(row, place, colours[ArmId(row.transfer, row.treatment).name])
    labels = [text(forest_label(row, several=several)) for row in rows]
    return figure(
        data,
        height=70 + _ROW_PIXELS * len(rows),
        hovermode="closest",
        shapes=[_zone(row.smallest, place) for place, row in enumerate(rows) if row.smallest is not None],
        xaxis={
            "title": {"text": "difference of test scores, points"},
            "range": _around_zero(comparison.rows),
            "zeroline": True,
            "zerolinecolor": MUTED,
            "zerolinewidth": 1,
        },
        yaxis={
            "tickvals": list(range(len(rows))),
            "ticktext": labels,
            "range": [-0.6, len(rows) - 0.4],
            "showgrid": False,
            "automargin": True,
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


def forest_label(row: Row, *, several: bool) -> str:
    """Return the name of a row; with the data set and study if there are several."""
    name = f"{row.transfer}: {row.treatment}{' (with later ones)' if row.later else ''}"
    study = "together" if row.together else row.study_id[-8:]
    return f"{name} ({row.dataset}, {study})" if several else name


def _forest_row(row: Row, place: int, colour: str) -> list[Figure]:
    searches = row.judgement.scores.searches
    seeds = [
        (100 * difference, f"search {number}, one seed")
        for number, search in enumerate(searches)
        for difference in search.differences
    ]
    means = [(100 * d, f"search {number}") for number, d in enumerate(row.judgement.scores.differences)]
    traces = [
        _dots(seeds, place - 0.3, {"symbol": "line-ns-open", "size": 8, "color": colour, "opacity": 0.45}),
        _dots(means, place - 0.14, {"symbol": "circle-open", "size": 7, "color": colour}),
    ]
    estimate = row.judgement.estimate
    if estimate is None:
        return traces
    middle = place + 0.12
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


def learning_figures(study: StudyReport, colours: Mapping[str, str]) -> dict[str, Figure]:
    """Return one figure per transfer: each policy's mean validation score with a band of one sd.

    Args:
        study: Its curves.
        colours: By arm.
    """
    low, high = _common_range(study.curves)
    transfers = list(dict.fromkeys(ArmId.parse(curve.arm).transfer for curve in study.curves))
    return {
        transfer: figure(
            [
                trace
                for curve in study.curves
                if ArmId.parse(curve.arm).transfer == transfer
                for trace in _curve(curve, colours[curve.arm])
            ],
            height=260,
            hovermode="x unified",
            xaxis=_epochs(max((curve.epochs[-1] for curve in study.curves if curve.epochs), default=1)),
            yaxis={"tickformat": ".0%" if high - low > 0.1 else ".1%", "range": [low, high]},
        )
        for transfer in transfers
    }


def _epochs(last: int) -> Figure:
    """Return the axis of epochs, which are whole."""
    return {
        "title": {"text": "epoch"},
        "range": [0.5, last + 0.5],
        "tickformat": "d",
        **({"dtick": 1} if last <= 10 else {}),
    }


def _common_range(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return the range in which all curves lie in the second half of their epochs."""
    lows, highs = [], []
    for curve in curves:
        start = len(curve.epochs) // 2
        for mean, sd in zip(curve.mean[start:], curve.sd[start:], strict=True):
            lows.append(mean - (sd or 0.0))
            highs.append(mean + (sd or 0.0))
    if not lows:
        return 0.0, 1.0
    margin = 0.05 * (max(highs) - min(lows) or 0.02)
    return max(0.0, min(lows) - margin), min(1.002, max(highs) + margin)


def _curve(curve: Curve, colour: str) -> list[Figure]:
    name = text(ArmId.parse(curve.arm).policy)
    constant = name == "constant"
    line = {"color": colour, "width": 2, "dash": "dash" if constant else "solid"}
    return [
        *_band(curve, colour),
        {
            "type": "scatter",
            "mode": "lines" if len(curve.epochs) > 1 else "markers",
            "name": name,
            "x": list(curve.epochs),
            "y": list(curve.mean),
            "line": line,
            "marker": {"color": colour},
            "hovertemplate": f"{name} %{{y:.2%}}<extra></extra>",
        },
    ]


def _band(curve: Curve | LayerCurve, colour: str) -> list[Figure]:
    """Return one sd around the mean as a filled outline; none where there is one seed."""
    known = [
        (epoch, mean, sd) for epoch, mean, sd in zip(curve.epochs, curve.mean, curve.sd, strict=True) if sd is not None
    ]
    if not known:
        return []
    upper = [(epoch, mean + sd) for epoch, mean, sd in known]
    lower = [(epoch, mean - sd) for epoch, mean, sd in reversed(known)]
    outline = upper + lower
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [epoch for epoch, _ in outline],
            "y": [value for _, value in outline],
            "fill": "toself",
            "fillcolor": colour,
            "opacity": 0.16,
            "line": {"width": 0},
            "hoverinfo": "skip",
        }
    ]


def layer_figure(curves: Sequence[LayerCurve], colours: Mapping[str, str]) -> Figure:
    """Return one quantity of all layers of an arm over the epochs.

    Args:
        curves: Of one arm and quantity.
        colours: By layer.
    """
    data = []
    for curve in curves:
        data += _band(curve, colours[curve.layer])
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": text(curve.layer),
                "x": list(curve.epochs),
                "y": list(curve.mean),
                "line": {"color": colours[curve.layer], "width": 2},
                "marker": {"size": 5},
                "hovertemplate": f"{text(curve.layer)} %{{y:.3f}}<extra></extra>",
            }
        )
    quantity = curves[0].quantity
    axis: Figure = {"rangemode": "tozero"} if quantity == "divergence" else {}
    neutral = {"multiplier": 1.0, "momentum": 0.0}.get(quantity)
    lines = [] if neutral is None else [_horizontal(neutral)]
    return figure(
        data, height=220, hovermode="x unified", xaxis=_epochs(curves[0].epochs[-1]), yaxis=axis, shapes=lines
    )


def _horizontal(value: float) -> Figure:
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": value,
        "y1": value,
        "line": {"color": MUTED, "width": 1, "dash": "dot"},
        "layer": "below",
    }


def cost_figure(cost: Cost, colours: Mapping[str, str]) -> Figure:
    """Return seconds an arm: search, confirmation, and what was neither.

    Args:
        cost: Of the study.
        colours: By arm.
    """
    arms = list(reversed(cost.arms))
    names = [text(arm.arm) for arm in arms]
    fills = [colours[arm.arm] for arm in arms]

    def bars(name: str, seconds: Sequence[float], colour: list[str] | str, opacity: float) -> Figure:
        return {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": names,
            "x": list(seconds),
            "marker": {"color": colour, "opacity": opacity},
            "hovertemplate": f"{name}: %{{x:.0f}} s<extra></extra>",
        }

    return figure(
        [
            bars("search", [arm.search for arm in arms], fills, 1.0),
            bars("confirmation", [arm.confirm for arm in arms], fills, 0.55),
            bars("outside epochs", [arm.overhead for arm in arms], FAINT, 1.0),
        ],
        height=70 + 34 * len(arms),
        barmode="stack",
        bargap=0.45,
        hovermode="closest",
        xaxis={"title": {"text": "seconds, trials added up"}, "rangemode": "tozero"},
        yaxis={"automargin": True, "showgrid": False, "fixedrange": True},
    )
