"""What a study says while it runs: one live table on a terminal, else plain lines in the log."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kdstudy.cluster import EpochFinished, TrialEnded, TrialEvent
from kdstudy.errors import StoreError
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.report import progress_table, snapshot
from kdstudy.results import EpochRecord, Phase, clock
from kdstudy.runner.observers import Counts
from kdstudy.study import Study

log = logging.getLogger(__name__)

REASON_LETTERS = 200

if TYPE_CHECKING:
    from rich.console import RenderableType


class Progress:
    """Logs one line an event, with the time gone and what is left; or, inside ``with`` on a terminal, a live table.

    Both only for whom kdstudy's log is shown: used as a library, it is silent unless logging is configured.

    Args:
        study: The study.
        study_id: Its ID.
        ledger: Read for the table.
        total: Trials in all, those already finished included.
        done: Trials finished before this run.
    """

    def __init__(self, study: Study, study_id: str, ledger: Ledger, *, total: int, done: int) -> None:
        self._study, self._id, self._ledger = study, study_id, ledger
        self.total, self._done, self._epochs = total, done, study.max_epochs
        self._began = time.monotonic()
        self._finished_here = 0
        self._last_end = self._began
        self._spent: dict[Phase, float] = {"search": 0.0, "confirm": 0.0}
        shown = log.isEnabledFor(logging.INFO) and sys.stderr.isatty()
        self._table = _LiveTable(study, study_id, ledger) if shown else None

    def __enter__(self) -> Self:
        if self._table is not None:
            self._table.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._table is not None:
            self._table.stop()

    def __call__(self, event: TrialEvent, trial: TrialRecord, counts: Counts) -> None:
        """Say what has happened; a study's observers are called like this."""
        if isinstance(event, EpochFinished):
            self.epoch(trial, event.record)
        elif isinstance(event, TrialEnded):
            self.ended(trial, counts.total)

    def epoch(self, trial: TrialRecord, record: EpochRecord) -> None:
        """Say where a long trial stands (every tenth of it)."""
        step = max(1, self._epochs // 10)
        if self._table is None and self._epochs >= 20 and record.epoch % step == 0 and record.epoch < self._epochs:
            val = "not finite" if record.val is None else f"{record.val:.4f}"
            log.info(f"  trial {trial.number} {trial.arm}: epoch {record.epoch}/{self._epochs}, val {val}")

    def ended(self, trial: TrialRecord, total: int) -> None:
        """Say how a trial ended and what remains, if the study comes to so many trials."""
        self._done += 1
        self._finished_here += 1
        self._last_end = time.monotonic()
        self._spent[trial.phase] += trial.seconds
        self.total = max(total, self._done)
        gone = time.monotonic() - self._began
        left = gone / self._finished_here * (self.total - self._done)
        if self._table is not None and trial.state != "failed":
            return
        score = "" if trial.val is None else f" val {trial.val:.4f}"
        test = "" if trial.test is None else f" test {trial.test:.4f}"
        label = f"seed {trial.index}" if trial.phase == "confirm" else f"trial {trial.number}"
        if trial.phase == "confirm" and (trial.search or self._study.confirm.searches > 1):
            label += f" of search {trial.search}"
        reason = f", {trial.reason[:REASON_LETTERS]}" if trial.reason else ""
        log.info(
            f"[{self._done}/{self.total}] {trial.phase} {trial.arm} {label}: {trial.state}{reason}{score}{test}"
            f" ({clock(trial.seconds)}) | elapsed {clock(gone)}, about {clock(left)} left"
        )

    def split(self) -> Mapping[str, float]:
        """Return seconds of wall time by phase, parted as the trials' own time: phases of several searches overlap."""
        wall, spent = self._last_end - self._began, sum(self._spent.values())
        share = self._spent["search"] / spent if spent else 1.0
        return {"search": wall * share, "confirmation": wall * (1 - share)}


class _LiveTable:
    """The table, drawn once a second by a thread of rich's; what is printed meanwhile appears above it."""

    def __init__(self, study: Study, study_id: str, ledger: Ledger) -> None:
        from rich.console import Console
        from rich.live import Live

        self._study, self._id, self._ledger = study, study_id, ledger
        self._last: RenderableType = ""
        self._live = Live(get_renderable=self._draw, console=Console(stderr=True), refresh_per_second=1)
        self.start, self.stop = self._live.start, self._live.stop

    def _draw(self) -> RenderableType:
        # The record may be away for a moment; the driver itself tells if it stays away.
        with contextlib.suppress(StoreError):
            self._last = progress_table(snapshot(self._ledger, self._study, self._id))
        return self._last
