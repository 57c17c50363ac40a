"""The stock MLflow UI on a real study: what a user sees there is what the record says."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kdstudy.ledger import Ledger
from tests.browser import watched
from tests.command_line import SMOKE, kdstudy

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
# MLflow's own page asks for a user that a server without logins does not have, and grumbles about its layout.
KNOWN = ("users/current", "ResizeObserver")
ASSISTANT = """
    localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
    localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Path:
    store = tmp_path_factory.mktemp("mlflow") / "store"
    kdstudy(store, "run", str(SMOKE))
    return store


@pytest.fixture(scope="module")
def study(store: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(kdstudy(store, "show", "--json"))
    return document


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[str]:
    """``kdstudy ui``, as a user starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-u", "-m", "kdstudy", "ui", "--store", str(store), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        address, _, study_id = address.partition("  ")
        assert study_id.startswith("digits-smoke-")
        assert address == f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning"
        yield address.partition("/#/")[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_the_study_s_run_tells_the_answer_in_the_numbers_of_compare(
    browser: Browser, server: str, store: Path, study: dict[str, Any]
) -> None:
    (row,) = json.loads(kdstudy(store, "compare", "--json"))["comparisons"]
    tracking = study["tracking"]
    with watched(browser, known=KNOWN) as page:
        page.add_init_script(ASSISTANT)
        page.goto(f"{server}/#/experiments/{tracking['experiment_id']}/runs/{tracking['run_id']}")
        page.get_by_text("Show more").click()
        page.get_by_text("Layerwise against constant: these two configurations").wait_for()
        told = f"{100 * row['difference']:+.1f} points [{100 * row['ci_low']:+.1f}, "
        assert told.replace("-", "\N{MINUS SIGN}") in page.locator("main, #root").first.inner_text()
        page.get_by_placeholder("Search metrics").first.fill("verdict")
        for name in ("difference", "ci_low", "ci_high", "p_adjusted"):
            shown = page.get_by_role("row").filter(has_text=f"verdict/attention layerwise/{name}").first.inner_text()
            assert float(shown.split()[-1]) == pytest.approx(row[name])
        page.get_by_role("tab", name="Artifacts").click()
        page.get_by_text("report.html").first.wait_for()
        assert page.get_by_text("comparison.json").count() >= 1


def test_the_description_s_link_shows_the_confirmation_runs_by_arm(
    browser: Browser, server: str, store: Path, study: dict[str, Any]
) -> None:
    tracking = study["tracking"]
    with watched(browser, known=KNOWN) as page:
        page.add_init_script(ASSISTANT)
        page.goto(f"{server}/#/experiments/{tracking['experiment_id']}/runs/{tracking['run_id']}")
        page.get_by_text("Show more").click()
        link = page.get_by_role("link", name="confirmation, curves").get_attribute("href")
        assert link is not None
        page.goto(f"{server}/{link}")
        page.get_by_role("button", name="Group by").click()
        page.get_by_text("arm", exact=True).first.click()
        page.get_by_text("attention/constant search 0 seed 1").first.wait_for()
        text = page.locator("body").inner_text()
        names = set(re.findall(r"attention/\w+ search \d seed \d", text))
        arms = ("attention/constant", "attention/layerwise")
        assert names == {f"{arm} search 0 seed {seed}" for arm in arms for seed in (0, 1)}
        # Per-layer series share a section of charts each.
        for layer in ("layer1", "layer2", "layer3"):
            page.get_by_text(f"layers/{layer}", exact=True).first.wait_for()


def test_runs_can_be_filtered_and_a_run_shows_the_record_s_score(
    browser: Browser, server: str, store: Path, study: dict[str, Any]
) -> None:
    with Ledger.open(f"sqlite:///{store / 'ledger.db'}") as ledger:
        trial = next(t for t in ledger.trials(study["study_id"], "confirm") if t.arm_id.policy == "layerwise")
    with watched(browser, known=KNOWN) as page:
        page.add_init_script(ASSISTANT)
        page.goto(f"{server}/#/experiments/{study['tracking']['experiment_id']}/runs?workflowType=machine_learning")
        search = page.get_by_placeholder(re.compile("metrics.rmse"))
        search.fill("tags.arm = 'attention/layerwise' and tags.phase = 'search'")
        search.press("Enter")
        page.get_by_text("3 matching runs").wait_for()  # two trials, and the study above them
        page.goto(f"{server}/#/experiments/{study['tracking']['experiment_id']}/runs/{trial.published.run_id}")
        page.get_by_placeholder("Search metrics").first.wait_for()
        shown = page.get_by_role("row").filter(has=page.get_by_text("test", exact=True)).first.inner_text()
        assert float(shown.split()[-1]) == pytest.approx(trial.test)


def test_the_best_student_is_registered(browser: Browser, server: str, study: dict[str, Any]) -> None:
    with watched(browser, known=KNOWN) as page:
        page.add_init_script(ASSISTANT)
        page.goto(f"{server}/#/models/{study['name']}")
        page.get_by_text(f"study-{study['study_id'][-8:]}").first.wait_for()
        text = page.locator("body").inner_text()
        assert "Version 1" in text
        assert re.search(r"@\s*best\b", text)
