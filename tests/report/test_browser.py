"""The report of a real study in a real browser: what a reader sees, clicks and reads back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.report_page import make_record, opening_seconds
from kdstudy.ledger import Ledger
from kdstudy.report import Report, render, write_report
from kdstudy.storage import DiskFolder
from tests.browser import watched
from tests.command_line import SMOKE, kdstudy
from tests.report.test_page import hostile

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
WORDS = {"configurations_differ": "differ", "not_told_apart": "are not told apart"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Path:
    store = tmp_path_factory.mktemp("smoke") / "store"
    kdstudy(store, "run", str(SMOKE))
    return store


@pytest.fixture(scope="module")
def written(store: Path) -> Path:
    """The page that the run itself wrote."""
    (page,) = store.glob("studies/*/report.html")
    return page


def shown(store: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(kdstudy(store, "show", "--json"))
    return document


def wait_until_drawn(page: Page) -> None:
    """Scroll past every figure that can be seen, and wait for it."""
    for canvas in page.locator(".canvas:visible").all():
        canvas.scroll_into_view_if_needed()
        canvas.locator(".main-svg").first.wait_for()


def test_the_numbers_are_those_of_compare(browser: Browser, store: Path, written: Path) -> None:
    (row,) = json.loads(kdstudy(store, "compare", "--json"))["comparisons"]
    with watched(browser) as page:
        page.goto(written.as_uri())
        answer = page.locator(".answers > li")
        assert answer.count() == 1
        assert answer.locator(".what").inner_text() == f"{row['transfer']}: {row['treatment']}"
        told = answer.locator(".size").inner_text().replace("\N{MINUS SIGN}", "-").split()[0]
        assert float(told) == pytest.approx(100 * row["difference"], abs=0.051)
        assert answer.locator(".verdict").inner_text() == f"these two configurations {WORDS[row['verdict']]}"
        wait_until_drawn(page)
        # The forest plot holds the full numbers: read them back from what plotly drew.
        drawn = page.evaluate("document.getElementById('figure-0').data.map((trace) => trace.x)")
        assert len(drawn[0]) == row["seeds"]
        assert drawn[1] == pytest.approx([100 * difference for difference in row["differences"]])
        assert drawn[2] == pytest.approx([100 * row["ci_low"], 100 * row["ci_high"]])
        assert drawn[3] == pytest.approx([100 * row["difference"]])
        page.get_by_text("The same in numbers").click()
        cells = page.locator("#differences tbody tr td").all_inner_texts()
        assert cells[3:6] == [str(row[name]) for name in ("searches", "seeds", "searches_won")]
        assert [float(cell) for cell in cells[6:8]] == pytest.approx(
            [100 * row["baseline_mean"], 100 * row["treatment_mean"]], abs=0.0051
        )


def test_the_table_sorts_and_filters_by_keyboard_and_leads_to_the_runs(
    browser: Browser, store: Path, written: Path
) -> None:
    document = shown(store)
    with watched(browser) as page:
        page.goto(written.as_uri())
        table = page.locator("table.sortable")
        vals = table.locator("tbody tr td:nth-child(6)")
        table.get_by_role("button", name="val %").focus()
        page.keyboard.press("Enter")
        ascending = [float(text) for text in vals.all_inner_texts()]
        assert ascending == sorted(ascending)
        assert ascending == pytest.approx(sorted(100 * trial["val"] for trial in document["trials"]), abs=0.0051)
        page.keyboard.press("Enter")
        assert [float(text) for text in vals.all_inner_texts()] == ascending[::-1]
        assert table.locator("th[aria-sort=descending]").inner_text().startswith("val %")
        page.locator("select[name=phase]").select_option("confirm")
        page.locator("select[name=arm]").select_option("attention/layerwise")
        visible = table.locator("tbody tr:visible")
        assert visible.count() == 2
        assert page.locator("output").inner_text() == "2 of 8 trials"
        tests = {float(text) for text in visible.locator("td:nth-child(7)").all_inner_texts()}
        wanted = [t["test"] for t in document["trials"] if t["test"] and t["arm"]["policy"] == "layerwise"]
        assert sorted(tests) == pytest.approx(sorted(100 * test for test in wanted), abs=0.0051)
        links = table.locator("tbody a").evaluate_all("(all) => all.map((a) => a.href)")
    with Ledger.open(f"sqlite:///{store / 'ledger.db'}") as ledger:
        runs = {trial.published.run_id for trial in ledger.trials(document["study_id"])}
    assert {link.rpartition("/")[2] for link in links} == runs
    assert len(links) == 8


def test_tabs_and_theme(browser: Browser, written: Path) -> None:
    with watched(browser, color_scheme="dark") as page:
        page.goto(written.as_uri())
        wait_until_drawn(page)
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("button", name="Switch between light and dark").click()
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert sum(map(int, dark[4:-1].split(","))) < 150 < 600 < sum(map(int, light[4:-1].split(",")))
        tabs = page.get_by_role("tab")
        tabs.nth(0).focus()
        page.keyboard.press("ArrowRight")
        assert tabs.nth(1).get_attribute("aria-selected") == "true"
        panels = page.get_by_role("tabpanel")
        assert panels.count() == 1  # the other is hidden
        wait_until_drawn(page)
        assert panels.locator(".main-svg").count() > 0


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_a_phone(browser: Browser, written: Path, width: int) -> None:
    with watched(browser, viewport={"width": width, "height": 800}, is_mobile=True, has_touch=True) as page:
        page.goto(written.as_uri())
        wait_until_drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.querySelectorAll('button')].every((b) => b.innerText.trim())")


def test_markup_in_a_record_does_not_run(browser: Browser, report: Report, tmp_path: Path) -> None:
    page_file = tmp_path / "report.html"
    page_file.write_text(render(hostile(report), "html"), encoding="utf-8")
    with watched(browser) as page:
        page.goto(page_file.as_uri())
        wait_until_drawn(page)
        assert page.title() != "owned"
        assert "<script>" in page.locator("table.sortable").inner_text()


def test_the_policy_stops_a_script_that_was_put_in_afterwards(browser: Browser, written: Path, tmp_path: Path) -> None:
    page_file = tmp_path / "report.html"
    text = written.read_text(encoding="utf-8")
    page_file.write_text(text.replace("</main>", "<script>document.title='owned'</script></main>"), encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.title() != "owned"
    context.close()


@pytest.mark.long
def test_the_report_of_200_trials_is_light(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        study_id = make_record(ledger)
        assert len(ledger.trials(study_id)) == 200
        write_report(ledger, [study_id], DiskFolder(page.parent), page.name)
    assert page.stat().st_size < 8_000_000
    # CPU time of the page's own thread: the wall clock also counts what else this machine does.
    assert min(busy for _, busy in opening_seconds(page, browser, 3)) < 2.0
