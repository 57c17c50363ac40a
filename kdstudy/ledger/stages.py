"""The stages of a trial, each with what is known in it: queued, running (queued again if its process dies), ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kdstudy.ledger.tables import TrialRow
from kdstudy.ledger.validation import damaged
from kdstudy.results import TrialResult


@dataclass(frozen=True)
class Queued:
    """The trial waits for a process.

    Args:
        started: When an earlier attempt began that was interrupted; None without one.
        epochs: How many epochs that attempt recorded.
    """

    started: datetime | None = None
    epochs: int = 0


@dataclass(frozen=True)
class Running:
    """The trial runs.

    Args:
        started: When it first ran.
        epochs: Epochs recorded so far.
    """

    started: datetime
    epochs: int = 0


@dataclass(frozen=True)
class Ended:
    """The trial is over, and stays as it is.

    Args:
        result: How it ended; where that broke off, with all epochs that were recorded before.
        started: When it first ran.
        finished: When its result was recorded.
    """

    result: TrialResult
    started: datetime
    finished: datetime

    @property
    def epochs(self) -> int:
        """Epochs recorded."""
        return self.result.epochs

    @property
    def wall(self) -> float:
        """Seconds from its first start to its recorded end."""
        return (self.finished - self.started).total_seconds()


Stage = Queued | Running | Ended


def stage_of(row: TrialRow, where: str) -> Stage:
    """Return the stage of the trial that a row holds.

    Raises:
        RecordError: It has begun or ended and lacks the time; ``where`` says whose row it is.
    """
    state, started, finished, epochs = row["state"], row["started"], row["finished"], row["epochs"]
    if state == "queued":
        return Queued(started, epochs)
    if started is None:
        raise damaged(where, f"started: a {state} trial has one")
    if state == "running":
        return Running(started, epochs)
    if finished is None:
        raise damaged(where, f"finished: a {state} trial has one")
    result = TrialResult(
        state=state,
        epochs=epochs,
        val=row["val"],
        test=row["test"],
        weights_sha256=row["weights_sha256"],
        error=row["error"],
        seconds=row["seconds"],
        numerics=row["numerics"],
    )
    return Ended(result, started, finished)
