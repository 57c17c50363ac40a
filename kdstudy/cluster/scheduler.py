"""Which trials are stopped early: the study's pruner as a scheduler of Ray Tune's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from kdstudy.ledger import TrialRecord
from kdstudy.plugins import PRUNERS
from kdstudy.search import Pruner, Scores
from kdstudy.study import PluginSpec

Field = tuple[str, int]
"""What competes with each other: the trials of an arm in one search."""


class ArmScheduler(FIFOScheduler):
    """Lets trials run in order, and stops some: pruned ones, and all of them when the driver must go.

    Trials of other fields never prune a trial, and confirmation runs are never pruned. Tune can stop a process, but
    not one of the trials that train in it: of those the numbers are noted, and the recorder sees to the rest.

    Args:
        pruner: The study's.
        known: Validation scores that were reported before this driver, by field, trial's number and epoch.
        stopping: Whether each trial shall end at its next report.

    Attributes:
        pruned: Numbers of trials of packs that are not to go on.
    """

    def __init__(
        self, pruner: Pruner, known: Mapping[Field, Mapping[int, Scores]], stopping: Callable[[], bool]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pruner, self._stopping = pruner, stopping
        self.pruned: set[int] = set()
        self._fields = {
            field: {number: dict(scores) for number, scores in trials.items()} for field, trials in known.items()
        }

    def __getstate__(self) -> dict[str, Any]:
        """As for `kdstudy.cluster.tune.PackSearcher`."""
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether it goes on; a trial that has already ended is left alone."""
        if self._stopping():
            return str(TrialScheduler.STOP)
        if trial.config["phase"] != "search" or "val" not in result or result["number"] in self.pruned:
            return str(TrialScheduler.CONTINUE)
        number, field = result["number"], (trial.config["arm"], trial.config["search"])
        reported = self._fields.setdefault(field, {})
        own = reported.setdefault(number, {})
        again = result["epoch"] in own  # reported once more from its checkpoint: it has passed there
        own[result["epoch"]] = result["val"]
        if again or result.get("result") is not None:
            return str(TrialScheduler.CONTINUE)
        others = [scores for other, scores in reported.items() if other != number]
        if not self._pruner.stops(own, others):
            return str(TrialScheduler.CONTINUE)
        if len(trial.config["trials"]) == 1:
            return str(TrialScheduler.STOP)
        self.pruned.add(number)
        return str(TrialScheduler.CONTINUE)


def scheduler_of(
    pruner: PluginSpec,
    trials: Sequence[TrialRecord],
    scores: Mapping[int, Scores],
    stopping: Callable[[], bool],
) -> ArmScheduler:
    """Return Tune's scheduler for the study's pruner, which knows what the record holds.

    Args:
        pruner: The pruner and its options.
        trials: The study's, as recorded.
        scores: Their validation scores by trial's number and epoch.
        stopping: As for `ArmScheduler`.
    """
    known: dict[Field, dict[int, Scores]] = {}
    for trial in trials:
        reported = dict(scores.get(trial.number, {}))
        if reported and not trial.done:
            del reported[max(reported)]  # it may have been interrupted before that epoch was judged: it is judged anew
        if reported and trial.phase == "search":
            known.setdefault((trial.arm, trial.search), {})[trial.number] = reported
    return ArmScheduler(PRUNERS.load(pruner.name)(**pruner.options), known, stopping)
