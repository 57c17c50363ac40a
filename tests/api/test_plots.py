"""Every figure of the report comes as plotly's own, with the traces of the page and no colour left open."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kdstudy
from benchmarks.report_page import make_record
from kdstudy.errors import RecordError
from kdstudy.ledger import Ledger
from tests.browser import chromium, watched
from tests.confirmed import ID, record

LAYERWISE = "attention/layerwise"
KINDS: dict[str, Callable[[kdstudy.Study], Any]] = {
    "verdict": lambda study: study.plot_verdict(),
    "curves": lambda study: study.plot_curves("jacobian"),
    "multiplier": lambda study: study.plot_layers(LAYERWISE),
    "divergence": lambda study: study.plot_layers(LAYERWISE, "divergence"),
    "importances": lambda study: study.plot_param_importances("attention/constant"),
    "slice": lambda study: study.plot_slice(LAYERWISE, "train.weight_decay"),
    "parallel": lambda study: study.plot_parallel_coordinate(LAYERWISE),
    "cost": lambda study: study.plot_cost(),
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> kdstudy.Study:
    """4 arms, two of them layer-wise; 20 search trials and 3 seeds each."""
    folder = tmp_path_factory.mktemp("store")
    kdstudy.Store.at(str(folder)).create()
    with Ledger.open(f"sqlite:///{folder / 'ledger.db'}", create=True) as ledger:
        make_record(ledger, trials=20, seeds=3, epochs=4)
    return kdstudy.load_study(store=folder)


def points(traces: Any) -> list[tuple[Any, Any]]:
    return [(list(trace["x"]), list(trace["y"])) for trace in traces]


@pytest.mark.parametrize("kind", KINDS)
def test_each_figure_holds_the_traces_of_the_page(study: kdstudy.Study, tmp_path: Path, kind: str) -> None:
    page = Path(study.report(tmp_path / "page.html")).read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', page, flags=re.DOTALL)
    shown = [points(figure["data"]) for figure in json.loads(found).values()]
    figure = KINDS[kind](study)
    assert points(figure.data) in shown
    assert "var(" not in figure.to_json()
    assert figure.layout.title.text
    assert figure.layout.height > 100
    legend = {trace.name for trace in figure.data if trace.showlegend is not False and trace.name}
    assert bool(figure.layout.showlegend) == (len(legend) > 1 and kind != "cost")


def test_what_is_not_named_is_the_student_to_take_home_or_the_first(study: kdstudy.Study) -> None:
    arm = study.take_home.arm
    assert study.plot_slice().layout.title.text == f"train.base_lr, {arm}"
    assert arm in study.plot_param_importances().layout.title.text
    assert arm.partition("/")[0] in study.plot_curves().layout.title.text
    assert "layerwise" in study.plot_layers().layout.title.text


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (lambda study: study.plot_curves("atention"), "no such transfer is drawn, got 'atention'; did you mean"),
        (lambda study: study.plot_slice("attention/lag"), "no such arm is drawn, got 'attention/lag'"),
        (
            lambda study: study.plot_slice(value="base_lr"),
            "no such value is drawn, got 'base_lr'; did you mean 'train.b",
        ),
        (lambda study: study.plot_layers(quantity="rate"), "no such quantity is drawn"),
    ],
)
def test_what_is_not_there_is_one_line(study: kdstudy.Study, draw: Callable[[Any], Any], told: str) -> None:
    with pytest.raises(RecordError) as caught:
        draw(study)
    assert told in str(caught.value)


def test_a_study_without_results_says_so(tmp_path: Path) -> None:
    kdstudy.Store.at(str(tmp_path)).create()
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", create=True) as ledger:
        record(ledger, {"kd/constant": [None], "kd/placebo": [None]}, "searches: 1, seeds: 1")
    waiting = kdstudy.load_study(ID, store=tmp_path)
    names = [name for name in dir(waiting) if name.startswith("plot_") and name != "plot_cost"]
    assert len(names) == 6
    for name in names:
        with pytest.raises(RecordError, match=ID):
            getattr(waiting, name)()
    assert waiting.plot_cost().data


@pytest.mark.slow  # a browser
def test_a_browser_draws_each_of_them(study: kdstudy.Study, tmp_path: Path) -> None:
    drawn = [draw(study) for draw in KINDS.values()]
    parts = [figure.to_html(full_html=False, include_plotlyjs=figure is drawn[0]) for figure in drawn]
    page = tmp_path / "figures.html"
    page.write_text(f"<meta charset=utf-8><body>{''.join(parts)}", encoding="utf-8")
    with chromium() as browser, watched(browser) as shown:
        shown.goto(page.as_uri())
        shown.wait_for_function(f"document.querySelectorAll('.js-plotly-plot .gtitle').length == {len(KINDS)}")
        shown.screenshot(path=str(tmp_path / "figures.png"), full_page=True)
    assert (tmp_path / "figures.png").stat().st_size > 20_000
