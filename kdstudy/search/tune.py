"""Adapters to Ray Tune: a searcher that asks our queue, a scheduler that prunes within an arm, a callback that records.

Tune only executes. Its own searchers, restore and loggers are not used: the ledger is the one record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from ray import tune
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.trainable import Trainable, wrap_function

from kdstudy.errors import StoreError
from kdstudy.ledger import TrialRecord
from kdstudy.pruners import Pruner, Scores
from kdstudy.registry import PRUNERS
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.search.progress import say
from kdstudy.search.queue import TrialQueue
from kdstudy.study import PluginSpec

REASON_LETTERS = 200


def parameters_of(trial: TrialRecord) -> dict[str, Any]:
    """Return Tune's parameters of a trial: the searched values by name, and what the worker needs to run it."""
    return {
        **trial.values,
        "trial": trial.number,
        "arm": trial.arm,
        "phase": trial.phase,
        "config": json.dumps(trial.config),
    }


def keep_keys_out_of_logs() -> None:
    """Stop Tune from copying the driver's S3 keys into each trial's runtime environment, which Ray logs in the clear.

    Nodes have keys of their own, as every process that reads the store does; an instance on this machine inherits ours.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
        {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
    )


@contextmanager
def remembered(raised: list[Exception]) -> Iterator[None]:
    """Note an exception before Tune gets hold of it."""
    try:
        yield
    except Exception as error:
        raised.append(error)
        raise


def failures_of(trial: Trial) -> str:
    """Return Tune's account of a trial's failures: here, for its copy in the store may lack the last."""
    return Path(trial.error_file).read_text() if trial.error_file else ""


def reason_of(text: str) -> str:
    """Return the line that says most in Tune's account of a trial's failures: why it failed last."""
    last = text.rpartition("Failure # ")[2].strip()
    errors = re.findall(r"^[\w.]+Error: .*", last, re.MULTILINE)
    return (errors or last.splitlines() or ["no reason known"])[-1][:REASON_LETTERS]


class QueueSearcher(Searcher):
    """Hands Tune the trials of our queue, in its order.

    Args:
        queue: What to run.
        ready: Tells the queue of the trials that have ended; returns whether another one may be handed out now.
        stopping: Whether nothing more shall start.
        raised: Takes whatever is raised here: Tune would wrap it beyond recognition.
        limit: Trials to hand out at most, at least 1.
    """

    def __init__(
        self,
        queue: TrialQueue,
        ready: Callable[[], bool],
        stopping: Callable[[], bool],
        raised: list[Exception],
        limit: int,
    ) -> None:
        super().__init__()  # no metric: a trial that fails reports none
        self._queue, self._ready, self._stopping, self._raised = queue, ready, stopping, raised
        self._left = limit

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it for its own restore, which is not used; ledger connections stay behind."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial's parameters; None while all must wait; FINISHED at the limit or the end."""
        if self._stopping() or self._left == 0 or len(self._queue) == 0:
            return cast(None, Searcher.FINISHED)  # Ray types it as a dict, and ends on this string
        with remembered(self._raised):
            trial = self._queue.next() if self._ready() else None
        if trial is None:
            return None
        self._left -= 1
        return parameters_of(trial)

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
        lost: Called with the number of a trial that Tune gave up before it began, to be handed out again.
        stopping: Whether trials are being stopped for a later resumption, which does not end them.
        raised: As for `QueueSearcher`.
    """

    def __init__(
        self,
        started: Callable[[int], None],
        epoch: Callable[[int, EpochRecord], None],
        ended: Callable[[int, TrialResult], None],
        lost: Callable[[int], None],
        stopping: Callable[[], bool],
        raised: list[Exception],
    ) -> None:
        self._started, self._epoch, self._ended, self._lost = started, epoch, ended, lost
        self._stopping, self._raised = stopping, raised
        self._over: set[str] = set()
        self._open: dict[int, EpochRecord | None] = {}
        self._seconds: dict[int, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        """As for `QueueSearcher`."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Look for trials that Tune gave up without a word.

        It does so, whatever ``max_failures``, where the process dies, or does not come free, that it meant to reuse.
        """
        for trial in trials:
            if trial.status == Trial.ERROR and trial.trial_id not in self._over:
                self._over.add(trial.trial_id)
                with remembered(self._raised):
                    self._lost(trial.config["trial"])

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record that it runs."""
        number = trial.config["trial"]
        self._open[number] = None
        self._seconds[number] = 0.0  # all epochs are reported again
        with remembered(self._raised):
            self._started(number)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record its epoch, and its result with the last one."""
        number = trial.config["trial"]
        if result.get("halt") is not None:
            with remembered(self._raised):
                raise StoreError(result["halt"])
        if result.get("record") is not None:
            record = EpochRecord.from_json(result["record"])
            self._open[number] = record
            self._seconds[number] += record.seconds
            with remembered(self._raised):
                self._epoch(number, record)
        if result.get("result") is not None:
            self._end(number, TrialResult.from_json(result["result"]))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record a trial that Tune ended before its own last report: the scheduler stopped it."""
        number = trial.config["trial"]
        last = self._open.get(number)
        if number in self._open and not self._stopping():
            self._end(number, TrialResult("stopped", epochs=last.epoch if last else 0, val=last.val if last else None))

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Say that its process was lost, and why: Tune starts it again."""
        reason = reason_of(failures_of(trial))
        say(f"trial {trial.config['trial']}: its process was lost ({reason}); it goes on from its checkpoint")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record a trial whose process died more often than allowed."""
        number = trial.config["trial"]
        last = self._open.get(number)
        if number in self._open:
            self._over.add(trial.trial_id)
            self._end(
                number,
                TrialResult(
                    "failed", epochs=last.epoch if last else 0, error=f"its process was lost: {failures_of(trial)}"
                ),
            )

    def _end(self, number: int, result: TrialResult) -> None:
        del self._open[number]
        spent = self._seconds.pop(number)
        if result.seconds == 0.0:  # it did not end by itself
            result = replace(result, seconds=spent)
        with remembered(self._raised):
            self._ended(number, result)


class ArmScheduler(FIFOScheduler):
    """Lets trials run in order, and stops some: pruned ones, and all of them when the driver must go.

    One arm's trials never prune another's, and confirmation runs are never pruned.

    Args:
        pruner: The study's.
        known: Validation scores that were reported before this driver, by arm, trial's number and epoch.
        stopping: Whether each trial shall end at its next report.
    """

    def __init__(self, pruner: Pruner, known: Mapping[str, Mapping[int, Scores]], stopping: Callable[[], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pruner, self._stopping = pruner, stopping
        self._arms = {arm: {number: dict(scores) for number, scores in trials.items()} for arm, trials in known.items()}

    def __getstate__(self) -> dict[str, Any]:
        """As for `QueueSearcher`."""
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether it goes on; a trial that has already ended is left alone."""
        if self._stopping():
            return str(TrialScheduler.STOP)
        if trial.config["phase"] != "search" or "val" not in result:
            return str(TrialScheduler.CONTINUE)
        number, arm = trial.config["trial"], self._arms.setdefault(trial.config["arm"], {})
        own = arm.setdefault(number, {})
        again = result["epoch"] in own  # reported once more from its checkpoint: it has passed there
        own[result["epoch"]] = result["val"]
        if again or result.get("result") is not None:
            return str(TrialScheduler.CONTINUE)
        others = [scores for other, scores in arm.items() if other != number]
        return str(TrialScheduler.STOP if self._pruner.stops(own, others) else TrialScheduler.CONTINUE)


def scheduler_of(
    pruner: PluginSpec,
    trials: Sequence[TrialRecord],
    scores: Mapping[int, Scores],
    stopping: Callable[[], bool],
) -> TrialScheduler:
    """Return Tune's scheduler for the study's pruner, which knows what the record holds.

    Args:
        pruner: The pruner and its options.
        trials: The study's, as recorded.
        scores: Their validation scores by trial's number and epoch.
        stopping: As for `ArmScheduler`.
    """
    known: dict[str, dict[int, Scores]] = {}
    for trial in trials:
        reported = dict(scores.get(trial.number, {}))
        if reported and not trial.done:
            del reported[max(reported)]  # it may have been interrupted before that epoch was judged: it is judged anew
        if reported and trial.phase == "search":
            known.setdefault(trial.arm, {})[trial.number] = reported
    return ArmScheduler(PRUNERS.load(pruner.name)(**pruner.options), known, stopping)


def preemptible_trainable(trainable: Callable[[dict[str, Any]], None]) -> type[Trainable]:
    """Return Tune's trainable of a function, in a process that takes SIGTERM as notice."""
    from kdstudy.search.preemption import listen

    class Preemptible(wrap_function(trainable)):  # type: ignore[misc]
        _name = "kdstudy-trial"

        def setup(self, config: dict[str, Any]) -> None:
            listen()
            import_module("kdstudy.trial")  # with torch: the process starts with it, not its first trial
            super().setup(config)

    return Preemptible
