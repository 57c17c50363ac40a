"""The progress of a study in a notebook: one table below the cell, brought up to date in place."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any, final

from kdstudy.api.html import html_table, paragraph
from kdstudy.cluster import TrialEvent
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.report import Snapshot, snapshot
from kdstudy.results import decimal
from kdstudy.runner import Counts, Observer
from kdstudy.storage import Store

log = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two looks at the record, at least."""


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, and not a script or a terminal, IPython's included."""
    ipython = sys.modules.get("IPython")  # where it was not imported, nobody runs in it
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


@contextlib.contextmanager
def shown_progress(store: Store, *, wanted: bool) -> Iterator[list[Observer]]:
    """Show a table while the block runs, and give it, as one of the driver's observers; none outside a notebook.

    Args:
        store: Where the study is kept.
        wanted: Whether there is to be one.
    """
    if not (wanted and in_notebook()):
        yield []
        return
    table = ProgressTable(store)
    try:
        yield [table]
    finally:
        table.close()


@final
class ProgressTable:
    """A table of a study's arms, of the record as it is at each event; told to a notebook as a display that changes.

    Nothing that goes wrong with it ends the study.

    Args:
        store: Where the study is kept.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._study_id, self._drawn = store, "", 0.0
        self._display = _display("preparing: data, teacher")

    def __call__(self, event: TrialEvent, trial: TrialRecord, counts: Counts) -> None:
        """Draw it anew, unless that was done a moment ago."""
        self._study_id = trial.study_id
        if time.monotonic() - self._drawn >= EVERY:
            self._draw()

    def close(self) -> None:
        """Draw it for the last time."""
        self._draw()

    def _draw(self) -> None:
        if self._display is None or not self._study_id:
            return
        try:
            with Ledger.open(self._store.ledger_url) as ledger:
                now = snapshot(ledger, ledger.study(self._study_id).study(), self._study_id)
            self._display.update(_bundle(now.line(), progress_html(now)), raw=True)
        except Exception:
            log.exception("the table of progress could not be shown; the study goes on without it")
            self._display = None
        self._drawn = time.monotonic()


def progress_html(now: Snapshot) -> str:
    """Return the study's progress as a notebook shows it.

    Args:
        now: What the record says.
    """
    cells = [
        (
            arm.arm,
            f"{arm.ended}/{arm.planned}",
            str(arm.running or ""),
            str(arm.stopped or ""),
            str(arm.lost or ""),
            "" if arm.best is None else decimal(arm.best),
            ", ".join(f"{epoch}/{now.epochs}" for epoch in arm.epochs),
        )
        for arm in now.arms
    ]
    header = ("arm", "done", "running", "stopped", "lost", "best val", "epoch")
    said = now.line() if now.status == "running" else f"[{now.ended}/{now.planned}] {now.status}"
    return paragraph(f"study {now.study_id}", strong=True) + html_table(header, cells) + paragraph(said)


def _display(text: str) -> Any:
    """Show a text that can be replaced; return IPython's handle of it."""
    from IPython import display

    show: Any = display.display
    return show(_bundle(text, paragraph(text)), raw=True, display_id=True)


def _bundle(text: str, html: str) -> dict[str, Any]:
    return {"text/plain": text, "text/html": html}
