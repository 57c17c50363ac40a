"""Who watches a study's trials: MLflow, Prometheus, the store. Called in order, once the ledger has an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from kdstudy.cluster import EpochFinished, TrialEnded, TrialEvent, TrialStarted
from kdstudy.ledger import Ledger, Running, TrialRecord, utc_now
from kdstudy.storage import Store
from kdstudy.tracking import Publisher

if TYPE_CHECKING:
    from kdstudy.cluster import StudyMetrics


@dataclass(frozen=True)
class Counts:
    """How far the study is, when an event is reported.

    Args:
        handed: Trials handed out so far.
        total: Trials in all, as far as can be said.
    """

    handed: int
    total: int


class Observer(Protocol):
    """Is told of every event, in the writer's thread. What it raises ends the study."""

    def __call__(self, event: TrialEvent, trial: TrialRecord, counts: Counts) -> None:
        """Take note of an event; ``trial`` is as it stands after it, of an epoch as it was handed out."""


def record(event: TrialEvent, trial: TrialRecord, ledger: Ledger) -> TrialRecord:
    """Write an event into the ledger; return the trial as it stands after it, of an epoch as it is given.

    Raises:
        StoreError: It cannot be written.
    """
    match event:
        case TrialStarted():
            ledger.start_trial(trial.study_id, trial.number)
            return replace(trial, stage=Running(trial.started or utc_now(), trial.epochs))
        case EpochFinished():
            ledger.record_epoch(trial.study_id, trial.number, event.record)
            return trial  # not read again: a long study has many epochs
        case TrialEnded():
            ledger.finish_trial(trial.study_id, trial.number, event.result)
            return ledger.trial(trial.study_id, trial.number)


class Publishing:
    """Has MLflow brought up to date.

    Args:
        publisher: Does it, in the background.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def __call__(self, event: TrialEvent, trial: TrialRecord, counts: Counts) -> None:
        """Say that the trial has changed."""
        self._publisher.notify(trial.number)


class Measuring:
    """Sets what Prometheus sees.

    Args:
        metrics: The study's.
        publisher: Whose trouble is shown.
        known: Trials of earlier drivers.
        handed: How many trials they handed out.
    """

    def __init__(self, metrics: StudyMetrics, publisher: Publisher, known: Sequence[TrialRecord], handed: int) -> None:
        self._metrics, self._publisher = metrics, publisher
        for trial in known:
            if trial.done:
                metrics.changed(trial, handed)

    def __call__(self, event: TrialEvent, trial: TrialRecord, counts: Counts) -> None:
        """Count a trial, or show an epoch."""
        if isinstance(event, EpochFinished):
            self._metrics.epoch(trial.arm, event.record)
            self._metrics.published(self._publisher.pending(), self._publisher.trouble())
        else:
            self._metrics.changed(trial, counts.handed)


class Tidying:
    """Removes the checkpoints of trials that need them no more; those of a failed one may say why.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, event: TrialEvent, trial: TrialRecord, counts: Counts) -> None:
        """Remove them at a trial's end."""
        if isinstance(event, TrialEnded) and event.result.state != "failed":
            (self._store.trial(trial.study_id, trial.number) / "checkpoints").clear()
