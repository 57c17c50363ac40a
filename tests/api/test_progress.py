"""In a notebook a study shows one table, which changes in place; a terminal and a script show none of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kdstudy
from kdstudy.api import progress
from kdstudy.api.progress import ProgressTable, in_notebook, shown_progress
from kdstudy.cluster import EpochFinished, TrialEvent
from kdstudy.ledger import Ledger
from kdstudy.results import EpochRecord
from kdstudy.runner import Counts
from tests.confirmed import ID, record

ROOT = Path(__file__).parents[2]
NOTEBOOK = """
import sys
sys.path.insert(0, {root!r})
import kdstudy
from tests.runner.in_process import InProcess
from tests.tiny import TINY
with open("tiny.yaml", "w") as file:
    file.write(TINY)
study = kdstudy.run("tiny.yaml", store="store", cluster=InProcess())
"""


@pytest.fixture
def store(tmp_path: Path) -> kdstudy.Store:
    found = kdstudy.Store.at(str(tmp_path))
    found.create()
    with Ledger.open(found.ledger_url, create=True) as ledger:
        record(ledger, {"kd/constant": [(0.9,)] * 3, "kd/placebo": [(0.8, "diverged")] * 3})
    return found


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What IPython's shell of a kernel sends to its notebook."""
    pytest.importorskip("IPython")
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.kernel = object()  # type: ignore[attr-defined]
    shell.display_pub = CapturingDisplayPublisher(parent=shell)
    yield shell.display_pub.outputs
    InteractiveShell.clear_instance()


def finished(epoch: int) -> TrialEvent:
    return EpochFinished(1, EpochRecord(epoch, 0.5, {}, 0.5, 0.7, 0.1, {}))


def test_outside_a_notebook_nothing_is_shown(store: kdstudy.Store) -> None:
    assert not in_notebook()
    with shown_progress(store, wanted=True) as shown:
        assert shown == []


def test_a_notebook_shows_one_table_that_changes(
    store: kdstudy.Store, published: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    trial = kdstudy.load_study(store=store).trials[0].record
    with shown_progress(store, wanted=True) as (table,):
        assert isinstance(table, ProgressTable)
        table(finished(1), trial, Counts(1, 9))
    first, second, last = published
    assert "preparing" in first["data"]["text/html"]
    assert {each["transient"]["display_id"] for each in published} == {first["transient"]["display_id"]}
    assert [each["update"] for each in published] == [False, True, True]
    html = last["data"]["text/html"]
    # Of each of its three searches one trial, and two runs, one of which diverged.
    assert f"study {ID}" in html and "<td>kd/placebo</td><td>9/9</td>" in html
    assert "finished" in html
    assert second["data"]["text/plain"].startswith("[")


def test_one_may_do_without_and_looks_are_a_second_apart(store: kdstudy.Store, published: list[dict[str, Any]]) -> None:
    with shown_progress(store, wanted=False) as shown:
        assert shown == []
    table, trial = ProgressTable(store), kdstudy.load_study(store=store).trials[0].record
    for epoch in range(1, 50):
        table(finished(epoch), trial, Counts(1, 9))
    assert len(published) < 5


def test_what_goes_wrong_with_it_is_logged_and_ends_nothing(
    store: kdstudy.Store, published: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "kdstudy")
    table, trial = ProgressTable(store), kdstudy.load_study(store=store).trials[0].record
    gone = ProgressTable(kdstudy.Store.at(str(store.local / "none")))
    gone(finished(1), trial, Counts(1, 9))
    gone.close()
    assert caplog.text.count("could not be shown") == 1
    table.close()


@pytest.mark.slow  # a kernel, and a whole study in it
def test_a_notebook_that_runs_a_study_shows_it(tmp_path: Path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    cells = [nbformat.v4.new_code_cell(NOTEBOOK.format(root=str(ROOT))), nbformat.v4.new_code_cell("study")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (table,) = (output for output in notebook.cells[0].outputs if output.output_type == "display_data")
    assert "finished" in table.data["text/html"], "it was brought up to date in place, after the last trial too"
    assert "<td>attention/constant</td>" in table.data["text/html"]
    (study,) = notebook.cells[1].outputs
    assert ": finished" in study.data["text/html"]
