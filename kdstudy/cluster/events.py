"""What happens to trials on a cluster, as values, and where the cluster takes its trials from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final

from kdstudy.ledger import TrialRecord
from kdstudy.results import EpochRecord, TrialResult


@final
@dataclass(frozen=True)
class TrialStarted:
    """A trial runs, for the first time or again after its process was lost.

    Args:
        number: The trial's.
    """

    number: int


@final
@dataclass(frozen=True)
class EpochFinished:
    """A trial has finished an epoch, perhaps once more after its process was lost.

    Args:
        number: The trial's.
        record: The epoch.
    """

    number: int
    record: EpochRecord


@final
@dataclass(frozen=True)
class TrialEnded:
    """A trial has ended. Reported once.

    Args:
        number: The trial's.
        result: How it ended.
    """

    number: int
    result: TrialResult


TrialEvent = TrialStarted | EpochFinished | TrialEnded


class PackSource(Protocol):
    """Gives packs of trials to a cluster and is notified of what becomes of them; `kdstudy.runner` has it.

    Every method is called from one thread. What they raise ends `run_packs`.
    """

    def __len__(self) -> int:
        """Return how many trials have not been handed out: at 0 the cluster asks for no more."""

    def next_pack(self) -> Sequence[TrialRecord]:
        """Return the trials of one process; none while all that remain must wait."""

    def notify(self, event: TrialEvent) -> None:
        """Take note of an event. Returns at once."""

    def give_back(self, number: int) -> None:
        """Take a trial back that was handed out and never began."""
