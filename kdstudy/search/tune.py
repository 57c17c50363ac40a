"""Adapters to Ray Tune: a searcher that asks our queue, a scheduler that prunes within an arm, a callback that records.

Tune only executes. Its own searchers, restore and loggers are not used: the ledger is the one record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from kdstudy.ledger import TrialRecord
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.search.queue import TrialQueue
from kdstudy.study import PluginSpec


def parameters_of(trial: TrialRecord) -> dict[str, Any]:
    """Return Tune's parameters of a trial: the searched values by name, and what the worker needs to run it."""
    return {
        **trial.values,
        "trial": trial.number,
        "arm": trial.arm,
        "phase": trial.phase,
        "config": json.dumps(trial.config),
    }


@contextmanager
def remembered(raised: list[Exception]) -> Iterator[None]:
    """Note an exception before Tune gets hold of it."""
    try:
        yield
    except Exception as error:
        raised.append(error)
        raise


class QueueSearcher(Searcher):
    """Hands Tune the trials of our queue, in its order.

    Args:
        queue: What to run.
        raised: Takes whatever is raised here: Tune would wrap it beyond recognition.
    """

    def __init__(self, queue: TrialQueue, raised: list[Exception]) -> None:
        super().__init__()  # no metric: a trial that fails reports none
        self._queue, self._raised = queue, raised

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it for its own restore, which is not used; ledger connections stay behind."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial's parameters; None while all that remain must wait; FINISHED when none remain."""
        if len(self._queue) == 0:
            return cast(None, Searcher.FINISHED)  # Ray types it as a dict, and ends on this string
        with remembered(self._raised):
            trial = self._queue.next()
        return None if trial is None else parameters_of(trial)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the recorder tells the queue."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the queue is rebuilt from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


class Recorder(tune.Callback):
    """Passes on what Tune hears of each trial.

    Args:
        started: Called with the trial's number when it starts (again).
        epoch: Called with number and record after each epoch.
        ended: Called with number and result once a trial has ended.
        raised: As for `QueueSearcher`.
    """

    def __init__(
        self,
        started: Callable[[int], None],
        epoch: Callable[[int, EpochRecord], None],
        ended: Callable[[int, TrialResult], None],
        raised: list[Exception],
    ) -> None:
        self._started, self._epoch, self._ended, self._raised = started, epoch, ended, raised
        self._open: dict[int, EpochRecord | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        """As for `QueueSearcher`."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record that it runs."""
        number = trial.config["trial"]
        self._open[number] = None
        with remembered(self._raised):
            self._started(number)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record its epoch, and its result with the last one."""
        number = trial.config["trial"]
        if result.get("record") is not None:
            record = EpochRecord.from_json(result["record"])
            self._open[number] = record
            with remembered(self._raised):
                self._epoch(number, record)
        if result.get("result") is not None:
            self._end(number, TrialResult.from_json(result["result"]))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record a trial that Tune ended before its own last report: the scheduler stopped it."""
        number = trial.config["trial"]
        last = self._open.get(number)
        if number in self._open:
            self._end(number, TrialResult("stopped", epochs=last.epoch if last else 0, val=last.val if last else None))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record a trial whose process died more often than allowed."""
        number = trial.config["trial"]
        last = self._open.get(number)
        if number in self._open:
            self._end(
                number,
                TrialResult(
                    "failed", epochs=last.epoch if last else 0, error=f"its process was lost: {trial.get_error()}"
                ),
            )

    def _end(self, number: int, result: TrialResult) -> None:
        del self._open[number]
        with remembered(self._raised):
            self._ended(number, result)


class ArmScheduler(FIFOScheduler):
    """Asynchronous successive halving (Li et al. 2020) within each arm: one arm's trials never prune another's.

    Confirmation runs are never pruned.

    Args:
        epochs: Epochs of a full trial.
        grace: Epochs before a trial may be stopped.
        reduction: At each rung the best 1 / ``reduction`` go on.
    """

    def __init__(self, *, epochs: int, grace: int, reduction: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._epochs, self._grace, self._reduction = epochs, grace, reduction
        self._arms: dict[str, AsyncHyperBandScheduler] = {}

    def _arm(self, trial: Trial) -> AsyncHyperBandScheduler | None:
        if trial.config["phase"] != "search":
            return None
        name = trial.config["arm"]
        if name not in self._arms:
            self._arms[name] = AsyncHyperBandScheduler(
                time_attr="epoch",
                metric="val",
                mode="max",
                max_t=self._epochs + 1,
                grace_period=self._grace,
                reduction_factor=self._reduction,
            )
        return self._arms[name]

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Enter the trial in its arm's bracket."""
        arm = self._arm(trial)
        if arm is not None:
            arm.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether it goes on; a trial that has already ended is left alone."""
        arm = self._arm(trial)
        if arm is None or result.get("result") is not None or "val" not in result:
            return str(TrialScheduler.CONTINUE)
        return str(arm.on_trial_result(tune_controller, trial, result))


def scheduler_of(pruner: PluginSpec, epochs: int) -> TrialScheduler:
    """Return Tune's scheduler for the study's pruner."""
    if pruner.name == "none":
        return FIFOScheduler()
    return ArmScheduler(epochs=epochs, **pruner.options)
