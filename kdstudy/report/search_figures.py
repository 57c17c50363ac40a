"""Plotly figures of one arm's search: slices, importance, parallel coordinates.

Parallel coordinates are drawn as lines on a common scale rather than by plotly's own kind of chart, which needs
WebGL and code built at run time: a remote desktop lacks the first, and the page forbids the second.
"""

from __future__ import annotations

import math
from typing import Any

from kdstudy.ledger import TrialRecord
from kdstudy.report.figures import FAINT, INK, MUTED, Figure, figure, row_labels, text
from kdstudy.report.model import ArmSearch, Axis

_SCORE = "validation score"


def slice_figure(search: ArmSearch, axis: Axis, colour: str) -> Figure:
    """Return the score over one searched value; the best trial ringed, diverged ones as crosses at the bottom.

    Args:
        search: The arm's.
        axis: Which value.
        colour: The arm's.
    """
    scored = [trial for trial in search.trials if trial.val is not None]
    stopped = [trial for trial in scored if trial.state == "stopped"]
    completed = [trial for trial in scored if trial.state != "stopped"]
    data = [
        _dots(completed, axis, {"color": colour, "size": 8, "opacity": 0.7}),
        _dots(stopped, axis, {"color": colour, "size": 8, "symbol": "circle-open", "opacity": 0.7}),
    ]
    diverged = [trial for trial in search.trials if trial.val is None]
    if diverged:
        data.append(
            _dots(diverged, axis, {"color": MUTED, "size": 8, "symbol": "x-thin-open"}, at=0.04)
            | {"yaxis": "y2", "hovertemplate": "trial %{customdata}: diverged<extra></extra>"}
        )
    if search.best is not None:
        ring = {"color": "rgba(0,0,0,0)", "size": 15, "line": {"color": INK, "width": 1.5}}
        data.append(_dots([search.best], axis, ring))
    return figure(
        data,
        height=210,
        hovermode="closest",
        xaxis={"type": axis.scale, **_ticks(axis)},
        yaxis={"tickformat": ".1%"},
        yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
    )


def _ticks(axis: Axis) -> dict[str, Any]:
    """Return the axis over the whole range that was searched, whatever part of it was tried."""
    if axis.scale == "category":
        return {"categoryorder": "array", "categoryarray": [text(axis.shown(end)) for end in axis.span.ends()]}
    low, high = (float(end) for end in axis.span.ends())
    if axis.scale == "log":
        ends = [math.log10(low), math.log10(high)]
        decades = [10.0**power for power in range(math.ceil(ends[0]), math.floor(ends[1]) + 1)]
        marks = [low, *(mark for mark in decades if low * 2 < mark < high / 2), high]
        margin = 0.04 * (ends[1] - ends[0])
        return {
            "range": [ends[0] - margin, ends[1] + margin],
            "tickvals": marks,
            "ticktext": [f"{mark:g}" for mark in marks],
        }
    margin = 0.04 * (high - low)
    return {"range": [low - margin, high + margin], "nticks": 5}


def _dots(trials: list[TrialRecord], axis: Axis, marker: dict[str, Any], at: float | None = None) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [_plotted(axis, trial) for trial in trials],
        "y": [trial.val if at is None else at for trial in trials],
        "customdata": [trial.number for trial in trials],
        "marker": marker,
        "hovertemplate": "trial %{customdata}: %{y:.2%} at %{x}<extra></extra>",
    }


def _plotted(axis: Axis, trial: TrialRecord) -> Any:
    value = axis.shown(trial.values[axis.path])
    return text(value) if axis.scale == "category" else value


def importance_figure(search: ArmSearch, colour: str) -> Figure:
    """Return the share of each searched value in how well trials did.

    Args:
        search: With at least one share.
        colour: The arm's.
    """
    names = {axis.path: axis.name for axis in search.axes}
    shares = list(reversed(search.importance.items()))
    return figure(
        [
            {
                "type": "bar",
                "orientation": "h",
                "y": [text(names[path]) for path, _ in shares],
                "x": [share for _, share in shares],
                "text": [f"{share:.0%}" for _, share in shares],
                "textposition": "outside",
                "cliponaxis": False,
                "marker": {"color": colour},
                "hoverinfo": "skip",
            }
        ],
        height=52 + 44 * len(shares),
        bargap=0.75,
        **row_labels([text(names[path]) for path, _ in shares], 0.12),
        xaxis={"visible": False, "range": [0, 1.1], "fixedrange": True},
        yaxis={"visible": False, "fixedrange": True, "range": [-0.4, len(shares) - 0.3]},
    )


def parallel_figure(search: ArmSearch, colour: str) -> Figure:
    """Return one line per trial across all searched values and the score: faint, the best tenth strong.

    Args:
        search: The arm's; trials without a score are left out.
        colour: The arm's.
    """
    scored = sorted(
        (t for t in search.trials if t.val is not None), key=lambda trial: (trial.val or 0.0, -trial.number)
    )
    scores = [trial.val or 0.0 for trial in scored]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    strong = max(1, len(scored) // 10)
    groups = ((scored[:-strong], FAINT, 1.0), (scored[-strong:], colour, 2.5))
    data = [_lines(search, trials, (low, high), {"color": line, "width": width}) for trials, line, width in groups]
    return figure(
        data,
        height=260,
        hovermode="closest",
        xaxis={
            "tickvals": list(range(len(search.axes) + 1)),
            "ticktext": [*(text(axis.name) for axis in search.axes), _SCORE],
            "range": [-0.15, len(search.axes) + 0.15],
            "showgrid": True,
            "side": "top",
            "fixedrange": True,
        },
        yaxis={"visible": False, "range": [-0.12, 1.12], "fixedrange": True},
        annotations=_ends(search, (low, high)),
    )


def _lines(search: ArmSearch, trials: list[TrialRecord], scores: tuple[float, float], line: dict[str, Any]) -> Figure:
    """Return the trials as one trace, a gap between any two."""
    low, high = scores
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[str | None] = []
    for trial in trials:
        places = [axis.position(trial.values[axis.path]) for axis in search.axes]
        places.append(((trial.val or 0.0) - low) / (high - low) if high > low else 0.5)
        values = [f"{text(axis.name)} {_brief(axis.shown(trial.values[axis.path]))}" for axis in search.axes]
        values.append(f"score {trial.val:.2%}")
        x += [*range(len(places)), None]
        y += [*places, None]
        numbers += [*(f"trial {trial.number}: {each}" for each in values), None]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": y,
        "text": numbers,
        "line": line,
        "marker": {"size": 4, "color": line["color"]},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _ends(search: ArmSearch, scores: tuple[float, float]) -> list[Figure]:
    """Return the labels at the lower and upper end of each scale."""
    marks = [(place, *_span_ends(axis)) for place, axis in enumerate(search.axes)]
    marks.append((len(search.axes), f"{scores[0]:.1%}", f"{scores[1]:.1%}"))
    return [
        {"x": place, "y": y, "text": label, "showarrow": False, "font": {"size": 11, "color": MUTED}}
        for place, low, high in marks
        for y, label in ((-0.08, low), (1.08, high))
    ]


def _span_ends(axis: Axis) -> tuple[str, str]:
    ends = axis.span.ends()
    return _brief(axis.shown(ends[0])), _brief(axis.shown(ends[-1]))


def _brief(value: Any) -> str:
    return f"{float(f'{value:.3g}'):g}" if isinstance(value, float) else text(value)
