"""The page as it is laid out: on paper, on a phone, on a screen; for a small study and for one of many long names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.report_page import TEXT, make_record
from kdstudy.ledger import Ledger
from kdstudy.report import write_report
from kdstudy.storage import DiskFolder
from tests.browser import watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
JACOBIAN, LAYERWISE = "    - jacobian:  {{weight", "    - layerwise: {{interval"
LONG = TEXT.replace(
    JACOBIAN,
    "    - kd\n    - attention: {{label: attention_with_squared_maps, weight: {{log: [1, 10]}}}}\n"
    "    - jacobian:  {{label: jacobian_of_the_largest_logit_by_block, weight",
).replace(
    LAYERWISE,
    "    - placebo: {{size: {{uniform: [0.0, 0.5]}}}}\n    - layerwise: {{label: layerwise_with_a_short_interval, "
    "interval: 1, gain: {{uniform: [-0.5, 0.5]}}}}\n    - layerwise: {{interval",
)
STUDIES = {"4 arms, 3 searches": (TEXT, 3), "16 arms of long names": (LONG, 1)}
BOXES = """(selector) => [...document.querySelectorAll(selector)].map((each) => {
    const {left, top, right, bottom} = each.getBoundingClientRect();
    return {left, top, right, bottom, figure: each.closest(".canvas")?.id ?? ""};
})"""
# What is wider than the column of the page; a drawing's own parts are judged by its box.
STICKS_OUT = """() => {
    const {left, right} = document.querySelector("main").getBoundingClientRect();
    return [...document.querySelectorAll("main *")].filter((each) => {
        const box = each.getBoundingClientRect();
        return !each.closest("svg") && box.width && (box.right > right + 1 || box.left < left - 1);
    }).map((each) => `${each.tagName} ${each.className} ${each.textContent.trim().slice(0, 40)}`);
}"""


@pytest.fixture(scope="module", params=list(STUDIES))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A page, and how many trials its study has."""
    text, searches = STUDIES[request.param]
    folder = tmp_path_factory.mktemp("layout")
    with Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        study_id = make_record(ledger, trials=2, seeds=1, epochs=2, searches=searches, text=text)
        write_report(ledger, [study_id], DiskFolder(folder), "report.html")
        return folder / "report.html", len(ledger.trials(study_id))


@contextmanager
def opened(browser: Browser, path: Path, **options: Any) -> Iterator[Page]:
    with watched(browser, **options) as page:
        page.goto(path.as_uri())
        yield page


def on_paper(page: Page) -> None:
    """Lay the page out as a printer does, and wait for all figures."""
    page.emulate_media(media="print")
    page.wait_for_function(
        """() => [...document.querySelectorAll(".canvas")].every((each) => each.querySelector(".main-svg"))"""
    )


def test_on_paper_no_figure_covers_another(browser: Browser, made: tuple[Path, int]) -> None:
    with opened(browser, made[0]) as page:
        on_paper(page)
        canvases = {box["figure"]: box for box in page.evaluate(BOXES, ".canvas")}
        drawings = page.evaluate(BOXES, ".canvas .main-svg")
        assert len(canvases) > 12
        assert {box["figure"] for box in drawings} == set(canvases)
        for box in drawings:
            place = canvases[box["figure"]]
            assert place["left"] - 1 <= box["left"] < box["right"] <= place["right"] + 1, box
            assert place["top"] - 1 <= box["top"] < box["bottom"] <= place["bottom"] + 1, box
        boxes = page.evaluate(BOXES, ".plot")
        for number, one in enumerate(boxes):
            for other in boxes[:number]:
                apart = one["left"] >= other["right"] or other["left"] >= one["right"]
                assert apart or one["top"] >= other["bottom"] - 1 or other["top"] >= one["bottom"] - 1, (one, other)


def test_paper_shows_every_trial_and_every_arm_s_search(browser: Browser, made: tuple[Path, int]) -> None:
    path, trials = made
    with opened(browser, path) as page:
        page.locator("select[name=phase]").select_option("confirm")  # a filter is not printed, so nor is what it did
        on_paper(page)
        (frame,) = page.evaluate(BOXES, ".long")
        rows = page.evaluate(BOXES, "table.sortable tbody tr")
        assert len(rows) == trials
        for row in rows:
            assert frame["top"] <= row["top"] < row["bottom"] <= frame["bottom"] + 1
        arms = page.locator("select[name=arm] option").count() - 1
        assert page.locator("[role=tabpanel] h3:visible").count() == page.locator("[role=tabpanel]").count() == arms
        assert page.locator("details:not([open])").count() == 0


def test_nothing_is_wider_than_a_sheet(browser: Browser, made: tuple[Path, int]) -> None:
    with opened(browser, made[0]) as page:
        on_paper(page)
        assert page.evaluate(STICKS_OUT) == []
        width = page.evaluate("document.querySelector('main').getBoundingClientRect().width")
        assert width / 96 * 25.4 == pytest.approx(180, abs=0.1), "A4 and Letter less 12 mm at either side hold 180 mm"


def test_paper_is_light_and_the_screen_comes_back_as_it_was(browser: Browser, made: tuple[Path, int]) -> None:
    with opened(browser, made[0], color_scheme="dark") as page:
        state = """() => [document.documentElement.className, document.documentElement.dataset.theme ?? "",
            document.querySelectorAll("[role=tabpanel]:not([hidden])").length,
            document.querySelectorAll("details[open]").length, getComputedStyle(document.body).color]"""
        before = page.evaluate(state)
        page.evaluate("addEventListener('beforeprint', () => { window.seen = getComputedStyle(document.body).color; })")
        assert page.pdf()[:5] == b"%PDF-"
        assert sum(map(int, page.evaluate("window.seen")[4:-1].split(","))) < 200, "dark ink"
        assert page.evaluate(state) == before
        page.get_by_role("tab").nth(1).click()
        drawing = page.locator("[role=tabpanel]:visible .canvas .main-svg").first
        drawing.wait_for()
        canvas = page.locator("[role=tabpanel]:visible .canvas").first
        assert drawing.bounding_box()["width"] == pytest.approx(canvas.bounding_box()["width"], abs=1)  # type: ignore[index]


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_never_scrolls_sideways(browser: Browser, made: tuple[Path, int], width: int) -> None:
    options = {"viewport": {"width": width, "height": 800}, "is_mobile": True, "has_touch": True}
    with opened(browser, made[0], **options) as page:
        for canvas in page.locator(".canvas:visible").all():
            canvas.scroll_into_view_if_needed()
            canvas.locator(".main-svg").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_screen_of_1300_pixels_cuts_no_table_off(browser: Browser, made: tuple[Path, int]) -> None:
    with opened(browser, made[0], viewport={"width": 1300, "height": 900}) as page:
        page.locator("summary").first.click()
        frames = page.locator(".wide").evaluate_all(
            "(all) => all.map((e) => [e.ariaLabel, e.scrollWidth, e.clientWidth])"
        )
        assert [frame for frame in frames if frame[1] > frame[2]] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 1300
