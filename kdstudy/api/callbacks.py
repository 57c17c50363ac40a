"""What a caller in Python is told while a study runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from kdstudy.api.study import Study
from kdstudy.api.trial import Trial
from kdstudy.cluster import EpochFinished, TrialEnded, TrialEvent
from kdstudy.ledger import TrialRecord
from kdstudy.results import EpochRecord
from kdstudy.runner import Counts
from kdstudy.storage import Store

log = logging.getLogger(__name__)

TrialCallback = Callable[[Study, Trial], object]
"""Called as ``callback(study, trial)`` when a trial has ended and is recorded, as Optuna's callbacks are."""


@runtime_checkable
class Callback(Protocol):
    """Told of epochs as well as of trials; both methods must be there."""

    def on_epoch(self, study: Study, trial: Trial, epoch: EpochRecord) -> object:
        """Take note of an epoch, which is recorded; ``trial`` is as it was handed out."""

    def on_trial_end(self, study: Study, trial: Trial) -> object:
        """Take note of a trial that has ended and is recorded."""


class Telling:
    """Passes a study's events on, as one of the driver's observers: in its thread that writes, one after another.

    What a callback raises is logged with its traceback, and ends nothing: the record must not depend on it.

    Args:
        store: Where the study is kept.
        callbacks: Called in this order.
    """

    def __init__(self, store: Store, callbacks: Sequence[Callback | TrialCallback]) -> None:
        self._store, self._callbacks = store, tuple(callbacks)

    def __call__(self, event: TrialEvent, trial: TrialRecord, counts: Counts) -> None:
        """Tell every callback that wants to know."""
        study, view = Study(trial.study_id, self._store), Trial(trial, self._store)
        for callback in self._callbacks:
            try:
                _tell(callback, event, study, view)
            except Exception:
                log.exception(f"a callback failed at trial {trial.number}; the study goes on")


def _tell(callback: Callback | TrialCallback, event: TrialEvent, study: Study, trial: Trial) -> None:
    if isinstance(event, TrialEnded):
        told = callback.on_trial_end if isinstance(callback, Callback) else callback
        told(study, trial)
    elif isinstance(event, EpochFinished) and isinstance(callback, Callback):
        callback.on_epoch(study, trial, event.record)
