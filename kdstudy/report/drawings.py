"""The figures of a study's page as plotly's own objects, for notebooks: the same traces, on light paper."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, final

from kdstudy.errors import RecordError, did_you_mean
from kdstudy.report import figures, search_figures
from kdstudy.report.colours import depth_colours
from kdstudy.report.curves import QUANTITIES
from kdstudy.report.forest import forest
from kdstudy.report.model import ArmSearch, Report
from kdstudy.results import Quantity
from kdstudy.study import ArmId, arm_colours

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_TITLE = 56
"""Pixels above a figure for its title; a legend takes as many."""


@final
class Drawings:
    """Draws what the page of one study shows, figure by figure.

    An arm, a transfer or a value that is not named is that of the student to take home, else the first there is.

    Args:
        report: On one study.
    """

    def __init__(self, report: Report) -> None:
        (self._study,) = report.studies
        self._comparison, self._id = report.comparison, self._study.record.id
        arms = [arm.name for arm in self._study.study.arms]
        self._colours = {arm: light for arm, (light, _) in arm_colours(arms).items()}
        self._preferred = None if self._study.chosen is None else self._study.chosen.arm

    def verdict(self) -> Figure:
        """Draw the differences of the comparisons that are declared, search by search, with their intervals.

        Raises:
            RecordError: There is no difference yet.
        """
        if all(row.judgement.estimate is None for row in self._comparison.rows):
            raise RecordError(f"{self._id}: nothing is compared yet; its confirmation runs have to end first")
        return _drawn(forest(self._comparison, self._colours), "One difference per search")

    def curves(self, transfer: str | None = None) -> Figure:
        """Draw the mean validation scores over epochs of one transfer's arms, with a band of one standard deviation.

        Raises:
            RecordError: No confirmation run has completed, or there is no such transfer.
        """
        found = figures.learning_figures(self._study, self._colours)
        preferred = None if self._preferred is None else ArmId.parse(self._preferred).transfer
        chosen = self._choose("transfer", transfer, found, preferred, "no confirmation run has completed")
        return _drawn(found[chosen], f"Learning curves, {chosen}", "validation score")

    def layers(self, arm: str | None = None, quantity: Quantity = "multiplier") -> Figure:
        """Draw what one arm's policy measured or set of each layer over the epochs.

        Raises:
            RecordError: Nothing was set while training, or there is no such arm or quantity.
        """
        arms = list(dict.fromkeys(curve.arm for curve in self._study.layers))
        chosen = self._choose("arm", arm, arms, self._preferred, "no policy changed a rate while training")
        own = [curve for curve in self._study.layers if curve.arm == chosen]
        shown = [name for name in QUANTITIES if any(curve.quantity == name for curve in own)]
        named = self._choose("quantity", quantity, shown, None, "nothing was measured")
        names = list(dict.fromkeys(curve.layer for curve in own))
        colours = {layer: light for layer, (light, _) in zip(names, depth_colours(len(names)), strict=True)}
        figure = figures.layer_figure([curve for curve in own if curve.quantity == named], colours)
        return _drawn(figure, f"What the controller did, {chosen}", named.replace("_over_", " / "))

    def param_importances(self, arm: str | None = None) -> Figure:
        """Draw the share of each searched value in how well the trials of one arm did.

        Raises:
            RecordError: Too few trials have ended for it, or there is no such arm.
        """
        rated = {each.arm: each for each in self._study.search if each.importance}
        told = "too few search trials have ended to say what mattered"
        search = rated[self._choose("arm", arm, rated, self._preferred, told)]
        return _drawn(
            search_figures.importance_figure(search, self._colours[search.arm]), f"What mattered, {search.arm}"
        )

    def slice(self, arm: str | None = None, value: str | None = None) -> Figure:
        """Draw the validation score of one arm's search trials over one searched value.

        Raises:
            RecordError: Nothing was searched, or there is no such arm or value.
        """
        search = self._search(arm)
        axes = {axis.path: axis for axis in search.axes}
        axis = axes[self._choose("value", value, axes, None, "nothing was searched")]
        drawn = search_figures.slice_figure(search, axis, self._colours[search.arm])
        return _drawn(drawn, f"{axis.path}, {search.arm}", "validation score")

    def parallel_coordinate(self, arm: str | None = None) -> Figure:
        """Draw each search trial of one arm as a line across all searched values and the score.

        Raises:
            RecordError: Nothing was searched, or there is no such arm.
        """
        search = self._search(arm)
        return _drawn(search_figures.parallel_figure(search, self._colours[search.arm]), f"The search, {search.arm}")

    def cost(self) -> Figure:
        """Draw the seconds of each arm: search, confirmation, and what was neither."""
        title = "Cost: search, confirmation (pale), outside epochs (grey)"  # a legend would have one arm's colours
        return _drawn(figures.cost_figure(self._study.cost, self._colours), title, legend=False)

    def _search(self, arm: str | None) -> ArmSearch:
        searched = {each.arm: each for each in self._study.search}
        return searched[self._choose("arm", arm, searched, self._preferred, "no search trial has ended, or no range")]

    def _choose(self, kind: str, asked: str | None, known: Collection[str], preferred: str | None, none: str) -> str:
        if not known:
            raise RecordError(
                f"{self._id}: {none}, so there is nothing to draw; see .compare() and .trials_dataframe()"
            )
        if asked is None:
            return preferred if preferred is not None and preferred in known else next(iter(known))
        if asked not in known:
            raise RecordError(f"{self._id}: no such {kind} is drawn, got '{asked}'; {did_you_mean(asked, known)}")
        return asked


def _drawn(figure: figures.Figure, title: str, scale: str | None = None, *, legend: bool = True) -> Figure:
    """Return a figure of the page in plotly's classes, with title and legend, which the page writes itself.

    Args:
        figure: Of the page.
        title: Above it.
        scale: Name of the vertical axis.
        legend: Whether there is one where traces have names.
    """
    from plotly.graph_objects import Figure

    named = [trace for trace in figure["data"] if trace.get("name")]
    layout = {
        **figure["layout"],
        "title": {"text": figures.text(title)},
        "showlegend": legend and len(named) > 1,
        "template": "none",
    }
    top = layout.get("xaxis", {}).get("side") == "top"  # its names stand above, as wide as they are
    margin = {"l": 56, "r": 56 if top else 16, "t": _TITLE + 24 * top, "b": 44}
    layout["margin"] = {**margin, **layout.get("margin", {})}
    layout["height"] += _TITLE
    if scale:
        layout["yaxis"] = {**layout.get("yaxis", {}), "title": {"text": scale}}
    for name in [name for name in layout if re.fullmatch(r"[xy]axis\d*", name)] or ["xaxis", "yaxis"]:
        layout[name] = {"gridcolor": "var(--rule)", "zeroline": False, "automargin": True, **layout.get(name, {})}
    data = [{"showlegend": False, **trace} if not trace.get("name") else trace for trace in figure["data"]]
    return Figure(_coloured({"data": data, "layout": layout}))


def _coloured(value: Any) -> Any:
    """Return a value with every ``var(--name)`` replaced by the page's colour on light paper."""
    if isinstance(value, str):
        found = re.fullmatch(r"var\(--(\w+)\)", value)
        return _palette()[found[1]] if found else value
    if isinstance(value, list):
        return [_coloured(each) for each in value]
    if isinstance(value, dict):
        return {name: _coloured(each) for name, each in value.items()}
    return value


@cache
def _palette() -> dict[str, str]:
    style = resources.files("kdstudy.report").joinpath("template/page.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--(\w+): (#\w+)", style.partition("}")[0]))
