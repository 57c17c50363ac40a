"""Plotly figures as plain values: learning curves, layers, cost.

They are the JSON that plotly's script takes. Its Python classes would build the same and check the names of properties,
for about 0.3 s once and 5 ms per figure; `tests/report/test_page.py` has them check every figure instead.

Colours are names (`kdstudy.report.colours`); fonts, margins and grid are the page's, one place for all figures.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kdstudy.report.cost import Cost
from kdstudy.report.curves import Curve, LayerCurve
from kdstudy.report.model import StudyReport
from kdstudy.study import ArmId

Figure = dict[str, Any]
_LINE = 48
"""Characters that fit beside each other on a phone."""
INK, MUTED, FAINT = "var(--ink)", "var(--muted)", "var(--faint)"


def text(value: Any) -> str:
    """Return ``value`` as text of a figure: plotly reads tags, and names are a user's."""
    return html.escape(str(value), quote=False)


def figure(data: list[Figure], **layout: Any) -> Figure:
    """Return a figure."""
    return {"data": data, "layout": {"showlegend": False, **layout}}


def row_labels(names: Sequence[str], above: float) -> Figure:
    """Return the layout of an axis of rows whose names stand above them, so that a long one takes no width.

    Args:
        names: From the lowest row up, escaped; a long one takes two lines, broken after its colon or slash.
        above: Where they end below, in rows from a row's place.
    """
    return {
        "annotations": [
            {
                "text": _two_lines(name),
                "xref": "paper",
                "x": 0,
                "xanchor": "left",
                "y": place + above,
                "yanchor": "bottom",
                "align": "left",
                "showarrow": False,
                "font": {"color": MUTED},
            }
            for place, name in enumerate(names)
        ],
        "margin": {"l": 4},
    }


def _two_lines(name: str) -> str:
    return name if len(name) <= _LINE else re.sub(r"(: |/)", r"\1<br>", name, count=1)


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
    axis: Figure = {"rangemode": "tozero"} if quantity.startswith("divergence") else {}
    neutral = {"multiplier": 1.0, "momentum": 0.0, "divergence_over_chance": 1.0}.get(quantity)
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
        height=60 + (56 if max(map(len, names)) > _LINE else 46) * len(arms),
        barmode="stack",
        bargap=0.68,
        **row_labels(names, 0.16),
        hovermode="closest",
        xaxis={"title": {"text": "seconds, trials added up"}, "rangemode": "tozero"},
        yaxis={"visible": False, "fixedrange": True, "range": [-0.4, len(arms) - 0.4]},
    )
