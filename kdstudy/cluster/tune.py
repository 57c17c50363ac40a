"""Adapters to Ray Tune: a searcher that asks for our packs, a callback that passes on what happens to them.

A trial of Tune's is a pack of ours: one trial, or several that train in one process. Tune only executes. Its own
searchers, restore and loggers are not used: the ledger is the one record.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from ray import tune
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from ray.tune.trainable import Trainable, wrap_function

from kdstudy.cluster.events import EpochFinished, PackSource, TrialEnded, TrialStarted
from kdstudy.cluster.pack_signals import request_stop
from kdstudy.errors import StoreError
from kdstudy.ledger import TrialRecord
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.storage import Folder

log = logging.getLogger(__name__)

REASON_LETTERS = 200


def parameters_of(pack: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return Tune's parameters of a pack: the searched values by name, and what the worker needs to run it.

    Of a single trial the values stand there as they are, of several as lists.
    """
    first, *others = pack
    values = {path: [trial.values[path] for trial in pack] for path in first.values} if others else first.values
    return {
        **values,
        "trials": [trial.number for trial in pack],
        "arm": first.arm,
        "search": first.search,
        "phase": first.phase,
        "configs": json.dumps([trial.config for trial in pack]),
    }


def choose_variables_of_trials() -> None:
    """Stop Tune from copying the driver's S3 keys into each trial's runtime environment, which Ray logs in the clear.

    Nodes have keys of their own, as every process that reads the store does; an instance on this machine inherits ours.
    What Tune reads in a trial's process, and the driver has set, goes along.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.add("TUNE_FUNCTION_THREAD_TIMEOUT_S")
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


class PackSearcher(Searcher):
    """Hands Tune the packs of a source, in its order.

    Args:
        source: Whose packs.
        stopping: Whether nothing more shall start.
        raised: Takes whatever is raised here: Tune would wrap it beyond recognition.
        limit: Packs to hand out at most, at least 1.
    """

    def __init__(self, source: PackSource, stopping: Callable[[], bool], raised: list[Exception], limit: int) -> None:
        super().__init__()  # no metric: a trial that fails reports none
        self._source, self._stopping, self._raised = source, stopping, raised
        self._left = limit

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it for its own restore, which is not used; ledger connections stay behind."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next pack's parameters; None while all must wait; FINISHED at the limit or the end."""
        if self._stopping() or self._left == 0 or len(self._source) == 0:
            return cast(None, Searcher.FINISHED)  # Ray types it as a dict, and ends on this string
        with remembered(self._raised):
            pack = self._source.next_pack()
        if not pack:
            return None
        self._left -= 1
        return parameters_of(pack)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the recorder tells the queue."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what is left is known from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


class EventCallback(tune.Callback):
    """Passes on, as events, what Tune hears of each trial of each pack.

    Args:
        source: Is notified.
        folder: Of the trials' folders.
        pruned: Numbers of trials of packs that are not to go on after their last report.
        stopping: Whether trials are being stopped for a later resumption, which does not end them.
        raised: As for `PackSearcher`.
    """

    def __init__(
        self,
        source: PackSource,
        folder: Folder,
        pruned: Collection[int],
        stopping: Callable[[], bool],
        raised: list[Exception],
    ) -> None:
        self._source, self._folder, self._pruned = source, folder, pruned
        self._stopping, self._raised = stopping, raised
        self._over: set[str] = set()
        self._ended: set[int] = set()
        self._open: dict[int, EpochRecord | None] = {}
        self._seconds: dict[int, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        """As for `PackSearcher`."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Look for packs that Tune gave up without a word.

        It does so, whatever ``max_failures``, where the process dies, or does not come free, that it meant to reuse.
        """
        for trial in trials:
            if trial.status == Trial.ERROR and trial.trial_id not in self._over:
                self._over.add(trial.trial_id)
                with remembered(self._raised):
                    for number in self._members(trial):
                        self._source.give_back(number)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record that its trials run: those that have not ended in a process that was lost."""
        for number in self._members(trial):
            self._open[number] = None
            self._seconds[number] = 0.0  # all epochs are reported again
            with remembered(self._raised):
                self._source.notify(TrialStarted(number))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record an epoch of one of its trials, and the result with the last one."""
        if result.get("halt") is not None:
            with remembered(self._raised):
                raise StoreError(result["halt"])
        number = result["number"]
        if number not in self._open:
            return  # it is over, and its process has not seen it yet
        if result.get("record") is not None:
            record = EpochRecord.from_json(result["record"])
            self._open[number] = record
            self._seconds[number] += record.seconds
            with remembered(self._raised):
                self._source.notify(EpochFinished(number, record))
        if result.get("result") is not None:
            self._end(trial, number, TrialResult.from_json(result["result"]))
        elif number in self._pruned:
            self._stop(trial, number)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record a trial that Tune ended before its own last report: the scheduler stopped it."""
        for number in self._members(trial):
            if number in self._open and not self._stopping():
                self._stop(trial, number)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Say that their process was lost, and why: Tune starts it again."""
        reason, numbers = reason_of(failures_of(trial)), self._members(trial) or trial.config["trials"]
        those = f"trials {', '.join(map(str, numbers))}" if len(numbers) > 1 else f"trial {numbers[0]}"
        goes = "they continue from their checkpoints" if len(numbers) > 1 else "it continues from its checkpoint"
        log.warning(
            f"{those}: {'their' if len(numbers) > 1 else 'its'} process was lost ({reason}); {goes}",
            extra={"plain": True},
        )

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record trials whose process died more often than allowed."""
        for number in self._members(trial):
            if number in self._open:
                self._over.add(trial.trial_id)
                error = f"its process was lost: {failures_of(trial)}"
                self._end(trial, number, TrialResult("failed", epochs=self._done(number), error=error))

    def _members(self, trial: Trial) -> list[int]:
        return [number for number in trial.config["trials"] if number not in self._ended]

    def _done(self, number: int) -> int:
        last = self._open[number]
        return last.epoch if last else 0

    def _stop(self, trial: Trial, number: int) -> None:
        last = self._open[number]
        self._end(trial, number, TrialResult("stopped", epochs=self._done(number), val=last.val if last else None))

    def _end(self, trial: Trial, number: int, result: TrialResult) -> None:
        del self._open[number]
        self._ended.add(number)
        spent = self._seconds.pop(number)
        if result.seconds == 0.0:  # it did not end by itself
            result = replace(result, seconds=spent)
        with remembered(self._raised):
            if len(trial.config["trials"]) > 1:
                request_stop(self._folder / str(number), trial.trial_id)
            self._source.notify(TrialEnded(number, result))


def preemptible_trainable(trainable: Callable[[dict[str, Any]], None]) -> type[Trainable]:
    """Return Tune's trainable of a function, in a process that takes SIGTERM as notice."""
    from kdstudy.cluster.preemption import listen

    class Preemptible(wrap_function(trainable)):  # type: ignore[misc]
        _name = "kdstudy-trial"

        def setup(self, config: dict[str, Any]) -> None:
            listen()
            logging.getLogger("kdstudy").addHandler(logging.StreamHandler())  # Ray keeps its stderr in a file
            import_module("kdstudy.trial")  # with torch: the process starts with it, not its first trial
            super().setup(config)

    return Preemptible
