"""What a study says while it runs: plain lines on stderr, with the time gone and an estimate of what is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from kdstudy.ledger import TrialRecord
from kdstudy.results import EpochRecord


def clock(seconds: float) -> str:
    """Return ``seconds`` as people read them: ``42 s``, ``3:07``, ``2:03:07``."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Prints one line an event.

    Args:
        total: Trials in all, those already finished included.
        done: Trials finished before this run.
        slots: Trials that run at once.
        epochs: Epochs of one trial.
    """

    def __init__(self, total: int, done: int, slots: int, epochs: int) -> None:
        self.total, self._done, self._slots, self._epochs = total, done, slots, epochs
        self._began = time.monotonic()
        self._finished_here = 0
        self._phase_end: dict[str, float] = {}

    def epoch(self, trial: TrialRecord, record: EpochRecord) -> None:
        """Say where a long trial stands (every tenth of it)."""
        step = max(1, self._epochs // 10)
        if self._epochs >= 20 and record.epoch % step == 0 and record.epoch < self._epochs:
            val = "not finite" if record.val is None else f"{record.val:.4f}"
            say(f"  trial {trial.number} {trial.arm}: epoch {record.epoch}/{self._epochs}, val {val}")

    def ended(self, trial: TrialRecord) -> None:
        """Say how a trial ended and what remains."""
        self._done += 1
        self._finished_here += 1
        self._phase_end[trial.phase] = time.monotonic()
        self.total = max(self.total, self._done)
        gone = time.monotonic() - self._began
        left = gone / self._finished_here * (self.total - self._done)
        score = "" if trial.val is None else f" val {trial.val:.4f}"
        test = "" if trial.test is None else f" test {trial.test:.4f}"
        label = f"seed {trial.index}" if trial.phase == "confirm" else f"trial {trial.number}"
        say(
            f"[{self._done}/{self.total}] {trial.phase} {trial.arm} {label}: {trial.state}{score}{test}"
            f" ({clock(trial.seconds)}) | elapsed {clock(gone)}, about {clock(left)} left"
        )

    def split(self) -> Mapping[str, float]:
        """Return seconds of wall time by phase; confirmation counts from the end of the last search trial."""
        search = self._phase_end.get("search", self._began)
        return {
            "search": search - self._began,
            "confirmation": max(0.0, self._phase_end.get("confirm", search) - search),
        }


def say(line: str) -> None:
    """Print one line of progress."""
    print(line, file=sys.stderr, flush=True)
