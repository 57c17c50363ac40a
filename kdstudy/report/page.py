"""The report as one HTML file that needs nothing else: styles, plotly and data stand in it.

Everything from the record is escaped by the template, figures' texts by `figures.text`; on top of that the page's own
policy allows exactly the two scripts that are written here, by their hashes, and no request to anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

from kdstudy import __version__
from kdstudy.analysis import Answer, importance_basis
from kdstudy.ledger import TrialRecord
from kdstudy.report import figures, search_figures
from kdstudy.report.answer_text import arm_cells, footnote, ran_with_title, take_home_text, value_cells
from kdstudy.report.colours import depth_colours
from kdstudy.report.comparison_text import footnotes
from kdstudy.report.curves import QUANTITIES
from kdstudy.report.forest import forest as forest_of
from kdstudy.report.layer_text import layer_sentence
from kdstudy.report.model import ArmSearch, Report, StudyReport, short_names
from kdstudy.report.provenance import commands, facts
from kdstudy.report.verdicts import advice_of, decimals_of, headline, name_of, statements
from kdstudy.results import PLUS_MINUS, brief, duration, percent
from kdstudy.study import arm_colours


@dataclass(frozen=True)
class Panel:
    """One figure's place on the page.

    Args:
        id: Under which the page finds its data.
        title: Above it; empty for none.
        height: Pixels.
        label: What a screen reader says.
    """

    id: str
    title: str
    height: int
    label: str


@dataclass
class _Figures:
    """All figures of a page by ID."""

    held: dict[str, figures.Figure] = field(default_factory=dict)

    def add(self, figure: figures.Figure, title: str = "", label: str = "") -> Panel:
        name = f"figure-{len(self.held)}"
        self.held[name] = figure
        return Panel(name, title, figure["layout"]["height"], label or title)


def to_html(report: Report) -> str:
    """Return the page."""
    arms = list(dict.fromkeys(arm.name for study in report.studies for arm in study.study.arms))
    names = {arm: f"--arm-{number}" for number, arm in enumerate(arms)}
    shown = _Figures()
    colours = {arm: f"var({name})" for arm, name in names.items()}
    forest = None
    if any(row.judgement.estimate is not None for row in report.comparison.rows):
        forest = shown.add(
            forest_of(report.comparison, colours), label="Difference of each search, with the 95% interval"
        )
    studies = [_study(study, colours, shown, number) for number, study in enumerate(report.studies)]
    scripts = {"plotly": _plotly(), "page": _part("page.js")}
    return _template().render(
        report=report,
        headline=headline(report.comparison),
        statements=statements(report.comparison),
        warnings=[warned.message for warned in report.comparison.warnings],
        answers=[_answer(answer, decimals_of(report.comparison)) for answer in report.comparison.answers],
        advice=(advice_of(report.comparison) or "").replace("+-", PLUS_MINUS),
        name_of=name_of,
        comparison=report.comparison,
        notes=footnotes(report.comparison),
        forest=forest,
        studies=studies,
        several=len(studies) > 1,
        swatches={arm: Markup(colour) for arm, colour in colours.items()},  # noqa: S704  names of our own
        palette=_palette(arms, names, _layer_counts(report)),
        style=Markup(_part("page.css")),  # noqa: S704  our own file
        scripts={name: Markup(source) for name, source in scripts.items()},  # noqa: S704  ours and plotly's
        policy=_policy(list(scripts.values())),
        figures=Markup(_json(shown.held)),  # noqa: S704  escaped by _json
        version=__version__,
    )


def _answer(answer: Answer, decimals: int) -> dict[str, Any]:
    """Return what the template shows of one study's arms, and of the student to take home."""
    scored = any(each.scores for each in answer.arms)
    return {
        "id": answer.study_id,
        "arms": arm_cells(answer, decimals) if scored else None,
        "unscored": _unscored(answer),
        "values": value_cells(answer) if scored else [],
        "title": ran_with_title(answer) if scored else "",
        "notes": footnote(answer),
        "take_home": answer.take_home,
        "take_home_text": take_home_text(answer, decimals),
    }


def _unscored(answer: Answer) -> str:
    """Return why no arm has a score."""
    if answer.lost:
        return f"No arm has a test score: {answer.lost[0].summary}."
    return "Nothing has been confirmed yet."


def _unmoved(study: StudyReport) -> str:
    """Return why there are no multipliers to show over epochs."""
    moving = [arm.name for arm in study.study.arms if arm.policy.name != "constant"]
    if not moving:
        return "No arm has a policy that moves its learning rates."
    completed = {curve.arm for curve in study.curves}
    still = [arm for arm in moving if arm in completed]
    if still:
        return (
            f"No multiplier was changed while training in {', '.join(still)}: the policy sets them once, at the start, "
            "or its first update (interval) never came."
        )
    return "No arm that moves its learning rates has completed a confirmation run."


def _unsearched(study: StudyReport) -> str:
    """Return why there is no search to show."""
    ended = [trial for trial in study.trials if trial.phase == "search" and trial.done]
    if not ended:
        return "No search trial has ended yet."
    if not any(study.study.space(arm) for arm in study.study.arms):
        return "Nothing was searched: the study file has no range."
    return "No search trial has a score. The table of trials, below, says why."


def _study(study: StudyReport, colours: dict[str, str], shown: _Figures, number: int) -> dict[str, Any]:
    """Return what the template shows of one study."""
    return {
        "report": study,
        "anchor": f"study-{number}",
        "facts": facts(study),
        "commands": commands(study),
        "curves": [
            shown.add(each, transfer, f"Validation score over epochs, {transfer}")
            for transfer, each in figures.learning_figures(study, colours).items()
        ],
        "layers": _layers(study, shown),
        "searches": [_search(each, colours[each.arm], shown) for each in study.search],
        "unsearched": _unsearched(study),
        "unmoved": _unmoved(study),
        "cost": shown.add(figures.cost_figure(study.cost, colours), label="Seconds by arm"),
        "trials": [_trial(study, trial) for trial in study.trials],
    }


def _layers(study: StudyReport, shown: _Figures) -> list[dict[str, Any]]:
    found = []
    for arm in dict.fromkeys(curve.arm for curve in study.layers):
        own = [curve for curve in study.layers if curve.arm == arm]
        layers = list(dict.fromkeys(curve.layer for curve in own))
        colours = {layer: f"var({_layer_name(len(layers), place)})" for place, layer in enumerate(layers)}
        panels = [
            shown.add(
                figures.layer_figure([curve for curve in own if curve.quantity == quantity], colours),
                quantity.replace("_over_", " / "),
                f"{quantity.replace('_', ' ')} by layer over epochs, {arm}",
            )
            for quantity in QUANTITIES
            if any(curve.quantity == quantity for curve in own)
        ]
        swatches = {layer: Markup(colour) for layer, colour in colours.items()}  # noqa: S704  names of our own
        sentences = [layer_sentence(answer) for answer in study.layer_answers if answer.arm == arm]
        found.append({"arm": arm, "swatches": swatches, "panels": panels, "sentences": sentences})
    return found


def _search(search: ArmSearch, colour: str, shown: _Figures) -> dict[str, Any]:
    shares, mattered = search.importance, f"What mattered, {importance_basis(search.rated)}"
    return {
        "arm": search.arm,
        "best": search.best,
        "importance": shown.add(search_figures.importance_figure(search, colour), mattered) if shares else None,
        "slices": [shown.add(search_figures.slice_figure(search, axis, colour), axis.name) for axis in search.axes],
        "parallel": shown.add(search_figures.parallel_figure(search, colour), label="Parallel coordinates"),
    }


def _trial(study: StudyReport, trial: TrialRecord) -> dict[str, Any]:
    """Return a row of the table: cells as (text, what to sort by)."""
    # Scores that are missing sort below all others.
    return {
        "record": trial,
        "values": ", ".join(
            f"{name} {brief(value)}"
            for name, value in zip(short_names(trial.values), trial.values.values(), strict=True)
        ),
        "val": (percent(trial.val), -1 if trial.val is None else trial.val),
        "test": (percent(trial.test), -1 if trial.test is None else trial.test),
        "time": (duration(trial.seconds), trial.seconds),
        "run": study.links.trial(trial),
        "problem": trial.reason,
    }


def _palette(arms: list[str], names: dict[str, str], layer_counts: set[int]) -> Markup:
    """Return the colours of arms and layers as CSS, for light and dark paper."""
    pairs = {names[arm]: pair for arm, pair in arm_colours(arms).items()}
    for count in sorted(layer_counts):
        pairs |= {_layer_name(count, place): pair for place, pair in enumerate(depth_colours(count))}
    light, dark = (";".join(f"{name}:{pair[side]}" for name, pair in pairs.items()) for side in (0, 1))
    rules = (
        f":root{{{light}}}\n@media(prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f":root[data-theme=dark]{{{dark}}}"
    )
    return Markup(rules)  # noqa: S704  names and colours of our own


def _layer_counts(report: Report) -> set[int]:
    """Return how many layers each arm of each study has."""
    layers = {(number, curve.arm, curve.layer) for number, study in enumerate(report.studies) for curve in study.layers}
    return set(Counter((number, arm) for number, arm, _ in layers).values())


def _layer_name(count: int, place: int) -> str:
    return f"--layer-{count}-{place}"


def _json(document: Any) -> str:
    """Return JSON that may stand inside an HTML script block."""
    return (
        json.dumps(document, separators=(",", ":"), allow_nan=False)
        .replace("&", "\\u0026")
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
    )


def _policy(scripts: list[str]) -> str:
    """Return the page's content security policy: these scripts, no other, and nothing from outside."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"


def _breakable(name: str) -> Markup:
    """Return a name that may go on in the next line after an underscore, a slash or a dot."""
    return Markup(re.sub(r"(?<=[_/.])(?=\w)", "<wbr>", escape(name)))  # noqa: S704  escaped here


@cache
def _plotly() -> str:
    return resources.files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8")


@cache
def _part(name: str) -> str:
    return resources.files("kdstudy.report").joinpath(f"template/{name}").read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(breakable=_breakable, brief=brief, duration=duration, percent=percent)
    return environment.from_string(_part("page.html"))
