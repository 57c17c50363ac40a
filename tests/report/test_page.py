"""The page without a browser: whole, closed to the outside, and safe whatever a record holds."""

from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from benchmarks.report_page import make_record
from kdstudy.analysis import compare
from kdstudy.cli.schemas import schema
from kdstudy.errors import StoreError
from kdstudy.ledger import DatasetInfo, Ledger
from kdstudy.report import FORMATS, PAGE, Report, render, render_comparison, report_of, to_summary, write_report
from kdstudy.report.answer_text import arm_cells, footnote, take_home_text, value_cells
from kdstudy.report.verdicts import headline, signed, statements, verdict_of
from kdstudy.results import in_points, p_value
from kdstudy.storage import DiskFolder
from kdstudy.study import ArmId, PluginSpec
from tests.confirmed import record
from tests.stages import ended

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


class Elements(HTMLParser):
    """Every element with its attributes, and the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1] += data


def elements(page: str) -> Elements:
    parser = Elements()
    parser.feed(page)
    return parser


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render(report, "html")


def figures(page: str) -> dict[str, Any]:
    text = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, flags=re.DOTALL)
    assert text is not None
    found: dict[str, Any] = json.loads(text[1])
    return found


def hostile(report: Report) -> Report:
    """The same report with markup wherever a user, a plug-in or a machine may put text."""
    (content,) = report.studies
    change, arm_id, end = dataclasses.replace, ArmId(EVIL, "constant"), ended("failed", error=EVIL)
    first = content.study.arms[0]
    arms = (change(first, transfer=change(first.transfer, name=EVIL)), *content.study.arms[1:])
    environment = {"platform": EVIL, "python": EVIL, "versions": {EVIL: EVIL}, "git": {"kdstudy": {"commit": EVIL}}}
    trials = [change(t, arm_id=arm_id, stage=end) for t in content.trials]
    axes = [change(axis, name=EVIL, path=axis.path) for axis in content.search[1].axes]
    changed = change(
        content,
        record=change(content.record, id=EVIL, name=EVIL, message=EVIL, text=EVIL, environment=environment),
        study=change(content.study, arms=arms, name=EVIL),
        trials=tuple(trials),
        curves=tuple(change(curve, arm=arm_id.name) for curve in content.curves),
        layers=tuple(change(curve, layer=EVIL) for curve in content.layers),
        search=(change(content.search[1], axes=tuple(axes)),),
        cost=change(content.cost, arms=(change(content.cost.arms[0], arm=arm_id.name),)),
    )
    rows = tuple(change(row, study_id=EVIL) for row in report.comparison.rows)
    return Report(change(report.comparison, rows=rows, study_ids=(EVIL,)), (changed,))


def test_networks_named_by_an_option_are_called_by_it(report: Report) -> None:
    (content,) = report.studies
    named = PluginSpec("torchvision", {"name": "resnet50", "weights": "none"})
    teacher = dataclasses.replace(content.study.teacher, model=named)
    student = dataclasses.replace(content.study.student, model=dataclasses.replace(named, options={"name": "resnet18"}))
    study = dataclasses.replace(content.study, teacher=teacher, student=student)
    page = render(Report(report.comparison, (dataclasses.replace(content, study=study),)), "html")
    assert re.search(r"torchvision resnet50( \(.*?\))? teaches\s+torchvision resnet18;", page)


def test_every_section_is_there(page: str) -> None:
    heads = re.findall(r"<h2>(.*?)</h2>", page)
    assert heads == [
        "The arms, and the student to take home",
        "One difference per search",
        "Learning curves",
        "What the controller did",
        "The search",
        "All trials",
        "How to reproduce",
        "Cost",
    ]
    assert "<h1>" in page


def test_nothing_is_fetched_and_only_the_page_s_own_scripts_may_run(page: str) -> None:
    parsed = elements(page)
    fetching = {"src", "srcset", "data", "poster", "action", "formaction", "background"}
    for tag, attributes in parsed.found:
        assert not fetching & attributes.keys(), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert tag != "link" or attributes["href"] == "data:,"
    (policy,) = (a["content"] for t, a in parsed.found if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    executed = [
        text
        for text, (_, attributes) in zip(
            parsed.scripts, (each for each in parsed.found if each[0] == "script"), strict=True
        )
        if attributes.get("type") is None
    ]
    assert {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in executed} == allowed
    assert "unsafe" not in policy.partition("script-src")[2].partition(";")[0]


def test_text_of_a_record_never_becomes_markup(report: Report) -> None:
    text = render(hostile(report), "html")
    clean, dirty = elements(render(report, "html")), elements(text)
    assert EVIL not in text
    assert text.count("document.title") > 20  # it is there, as text
    for tag in ("script", "img", "style", "iframe"):
        counts = [sum(each[0] == tag for each in parsed.found) for parsed in (clean, dirty)]
        assert counts[0] == counts[1], tag
    shown = json.dumps(figures(text))
    assert "document.title" in shown
    assert "<" not in shown.replace("<extra></extra>", "").replace("<br>", "")  # our own


def test_markdown_shows_text_as_it_is(report: Report) -> None:
    text = render(hostile(report), "md")
    outside = re.sub(r"^(`{3,})yaml$.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)  # the study file
    outside = re.sub(r"`[^`\n]*`", "", outside)  # commands
    assert "script" in outside
    assert not re.search(r"(?<!\\)<", outside)


def test_plotly_accepts_every_figure(page: str) -> None:
    from plotly import graph_objects

    found = figures(page)
    # 4 arms, 2 transfers, 2 layer-wise arms: forest, curves, layers, searches with parallel coordinates, cost.
    slices = 2 * 3 + 2 * 6
    assert len(found) == 1 + 2 + 2 * 4 + 4 + slices + 1
    for name, figure in found.items():
        plain = json.loads(re.sub(r"var\(--[\w-]+\)", "#123456", json.dumps(figure)))
        graph_objects.Figure(data=plain["data"], layout=copy.deepcopy(plain["layout"]))
        assert re.search(rf'id="{name}"', page)


def test_every_colour_a_figure_names_is_defined(page: str) -> None:
    named = set(re.findall(r"var\((--[\w-]+)\)", json.dumps(figures(page))))
    assert {name for name in named if not re.search(rf"{name}: ?#", page)} == set()


def test_the_json_is_what_its_schema_says_and_what_compare_prints(report: Report) -> None:
    document = json.loads(render(report, "json"))
    jsonschema.validate(document, schema("report"), cls=jsonschema.Draft202012Validator)
    assert {"study_id", "comparisons"} <= document.keys()
    assert document["comparisons"] == report.comparison.to_json()["comparisons"]


def test_the_same_record_gives_the_same_bytes(ledger: Ledger) -> None:
    for form in FORMATS:
        assert render(report_of(ledger, ["latest"]), form) == render(report_of(ledger, ["latest"]), form)


def test_a_study_that_has_not_begun_has_a_report(tmp_path: Path, report: Report) -> None:
    (study,) = report.studies
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.create_study(dataclasses.replace(study.record, status="interrupted", dataset=DatasetInfo()))
        for form in FORMATS:
            text = render(report_of(ledger, ["latest"]), form)
            assert study.record.id in text
        page = render(report_of(ledger, ["latest"]), "html")
        assert "<h1>Layerwise against constant: nothing has been confirmed yet</h1>" in page
        assert "no search has a score in both arms; 1 search is still to come" in page
        assert "One difference per search" not in page, "an empty picture"


def test_a_place_that_cannot_be_written_is_one_line_and_leaves_nothing(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(ledger, ["latest"], DiskFolder(tmp_path / "file"), PAGE)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_answer_says_size_interval_and_what_could_have_been_seen(report: Report) -> None:
    for answer, row in zip(statements(report.comparison), report.comparison.rows, strict=True):
        found = row.judgement.estimate
        assert found is not None and found.ci_low is not None and found.ci_high is not None
        assert f"{100 * abs(found.mean):.1f}" in answer.difference
        ends = [signed(end, 1) for end in (found.mean, found.ci_low, found.ci_high)]
        assert answer.sentence.startswith("{} points [{}, {}], p ".format(*ends))
        assert "; could have detected" in answer.sentence
        assert answer.verdict.startswith("these two configurations ")
    assert headline(report.comparison).startswith("Layerwise against constant: configurations not told apart in both")
    assert headline(dataclasses.replace(report.comparison, rows=())) == "Nothing to compare yet"


def test_the_picture_has_a_ring_per_search_and_a_tick_per_seed(repeated: Ledger) -> None:
    report = report_of(repeated, ["latest"])
    page = render(report, "html")
    found = figures(page)["figure-0"]
    assert len(report.comparison.rows) == 2
    assert [shape["x1"] for shape in found["layout"]["shapes"]] == [1.0, 1.0], "confirm.smallest, in points"
    for place, row in enumerate(reversed(report.comparison.rows)):
        ticks, rings, bar, dot = found["data"][4 * place : 4 * place + 4]
        searches, estimate = row.judgement.scores.searches, row.judgement.estimate
        assert estimate is not None
        assert rings["x"] == pytest.approx([100 * d for d in row.judgement.scores.differences])
        assert ticks["x"] == pytest.approx([100 * d for search in searches for d in search.differences])
        assert (len(rings["x"]), len(ticks["x"])) == (5, 10)
        assert rings["text"] == [f"search {number}" for number in range(5)]
        assert bar["x"] == pytest.approx([100 * (estimate.ci_low or 0), 100 * (estimate.ci_high or 0)])
        assert dot["x"] == pytest.approx([100 * estimate.mean])
        low, high = found["layout"]["xaxis"]["range"]
        assert low < min(ticks["x"]) <= max(ticks["x"]) < high
    assert "A search is a repetition: the whole tuning done again" in page
    assert re.search(r"Advice: \w+: layerwise: .*4 more searches would narrow .* \N{PLUS-MINUS SIGN}\d", page)


def test_every_trial_tells_its_search(repeated: Ledger) -> None:
    report = report_of(repeated, ["latest"])
    trials = {trial.number: trial.search for trial in report.studies[0].trials}
    assert {*trials.values()} == {0, 1, 2, 3, 4}
    rows = re.findall(
        r'<tr data-arm.*?<td class="n" data-sort="(\d+)">.*?<td class="n" data-sort="(\d)">\d</td>\n *<td data-sort="c',
        render(report, "html"),
        flags=re.DOTALL,
    )
    assert {int(number): int(search) for number, search in rows} == trials
    text = render(report, "md").partition("### Trials")[2]
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if "/" in line]
    assert {int(line[1]): int(line[4]) for line in lines} == trials


def test_the_answer_is_the_same_on_every_surface(repeated: Ledger) -> None:
    report = report_of(repeated, ["latest"])
    (answer,), (warning, *_) = report.comparison.answers, report.comparison.warnings
    assert answer.take_home is not None
    page, text = render(report, "html"), render_comparison(report.comparison)
    told = [warning.message, take_home_text(answer), answer.take_home.command, *footnote(answer)]
    cells = [cell for table in (arm_cells(answer), *value_cells(answer)) for row in table.rows for cell in row if cell]
    assert len(cells) > 40
    shown = html.unescape(page.replace("<wbr>", ""))  # where a long name may be broken
    for each in told + cells:
        assert each in shown
        assert " ".join(each.split()) in " ".join(text.split())
        for form in (render(report, "md"), to_summary(report)):
            assert each in re.sub(r"\\(?=[`*_\[\]<>|#])", "", form)
    document = json.loads(render(report, "json"))
    assert document["answers"] == [answer.to_json()]
    assert document["warnings"] == [each.to_json() for each in report.comparison.warnings]


def test_warnings_stand_above_the_verdict(repeated: Ledger) -> None:
    report = report_of(repeated, ["latest"])
    forms = {form: render(report, form) for form in ("html", "md")} | {"summary": to_summary(report)}
    for text in (*forms.values(), render_comparison(report.comparison)):
        assert 0 <= text.index("Warning:") < text.index(verdict_of(report.comparison.rows[0]))


def test_two_studies_have_an_answer_each_and_warnings_name_theirs(ledger: Ledger, repeated: Ledger) -> None:
    first, second = (compare(each, ["latest"]) for each in (ledger, repeated))
    both = dataclasses.replace(first, answers=(*first.answers, *second.answers))
    assert [warned.message.partition(":")[0] for warned in both.warnings][:1] == [first.study_ids[0]]
    assert len(both.warnings) == len(first.warnings) + len(second.warnings)
    assert render_comparison(both).count("Take home:") == 2


@pytest.mark.parametrize("trials", [19, 20])
def test_importance_says_from_how_many_trials_and_is_left_out_where_they_are_few(tmp_path: Path, trials: int) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db", create=True) as ledger:
        make_record(ledger, trials=trials, seeds=1, epochs=2)
        report = report_of(ledger, ["latest"])
    page, text = render(report, "html"), render(report, "md")
    counts = {search.arm: search.rated for search in report.studies[0].search}
    enough = [arm for arm, count in counts.items() if count >= 20]
    assert bool(enough) == (trials == 20)
    assert page.count("What mattered, from 20 trials; rough below 50</figcaption>") == len(enough)
    assert text.count("(from 20 trials; rough below 50): ") == len(enough)


def test_what_the_controller_did_where_nothing_moved_while_training(tmp_path: Path) -> None:
    arms = {"kd/constant": [(0.9,)], "kd/placebo": [(0.9,)]}
    said = []
    for number, policies in enumerate((arms, {"kd/constant": [(0.9,)]}, {**arms, "kd/placebo": [("failed",)]})):
        with Ledger(f"sqlite:///{tmp_path}/{number}.db") as ledger:
            page = render(report_of(ledger, [record(ledger, policies)]), "html")
        said.append(page.partition("What the controller did</h2>")[2].partition("</p>")[0].partition("<p>")[2])
    assert said[0].startswith("No multiplier was changed while training in kd/placebo: the policy sets them once")
    assert said[1:] == [
        "No arm has a policy that moves its learning rates.",
        "No arm that moves its learning rates has completed a confirmation run.",
    ]


def test_numbers_in_words() -> None:
    assert signed(-0.0123, 1) == "\N{MINUS SIGN}1.2"
    assert signed(-0.0001, 1) == "+0.0"
    assert signed(None, 1) == "\N{EN DASH}"
    assert [in_points(size) for size in (0.005, 0.01, 0.025)] == ["0.5 points", "1 point", "2.5 points"]
    assert [p_value(p) for p in (0.0004, 0.012, 0.5)] == ["< 0.001", "0.012", "0.50"]
