"""What Prometheus sees of a study: its own metrics beside Ray's, exported by the driver's node.

Ray prefixes each name with ``ray_`` and serves all of a node's metrics at one address; `dashboards/README.md` tells
what is drawn from them. Needs Ray with its agent (the extra ``cluster``); without it nothing is exported and nothing
fails.
"""

from __future__ import annotations

import time
from collections import Counter as Tally

from ray.util.metrics import Counter, Gauge

from kdstudy.ledger import TrialRecord
from kdstudy.results import FINISHED_STATES, EpochRecord

STATES = ("pending", "queued", "running", *FINISHED_STATES)


class StudyMetrics:
    """The metrics of one study, set by its driver.

    Args:
        study_id: Tag of every series.
        planned: Trials in all.
        images: Training images of one epoch.
    """

    def __init__(self, study_id: str, *, planned: int, images: int) -> None:
        # The state of each trial that has been running, and how many there are of each: never the record's whole list.
        self._states: dict[int, str] = {}
        self._counts: Tally[str] = Tally()
        self._bests: dict[str, float] = {}
        self._id, self._planned, self._images = study_id, planned, images
        self._trials = _gauge("kdstudy_trials", "Trials by state; pending: not started yet.", "state")
        self._best = _gauge("kdstudy_best_val", "Best validation score of completed search trials, in [0, 1].", "arm")
        self._val = _gauge("kdstudy_val", "Validation score of the arm's last reported epoch, in [0, 1].", "arm")
        self._multiplier = _gauge(
            "kdstudy_multiplier", "A layer's multiplier of the base learning rate, last update.", "arm", "layer"
        )
        self._divergence = _gauge("kdstudy_divergence", "A layer's divergence from the teacher.", "arm", "layer")
        self._over_chance = _gauge(
            "kdstudy_divergence_over_chance",
            "The same over its chance level; 1 is no closer than chance.",
            "arm",
            "layer",
        )
        self._progress = _gauge("kdstudy_last_epoch_seconds", "When an epoch was last reported, Unix time.")
        self._waiting = _gauge("kdstudy_unpublished_trials", "Trials of which MLflow lacks something.")
        self._trouble = _gauge("kdstudy_mlflow_trouble", "1 while MLflow cannot be reached or refuses, else 0.")
        self._epochs = _counter("kdstudy_epochs", "Epochs reported.", "arm")
        self._seen = _counter("kdstudy_images", "Training images of the epochs reported.", "arm")
        self._progress.set(time.time(), self._tags())

    def changed(self, trial: TrialRecord, handed: int) -> None:
        """Take note that a trial started or ended.

        Args:
            trial: As it stands now.
            handed: How many trials of the study have been handed out, this one included.
        """
        before = self._states.get(trial.number)
        self._states[trial.number] = trial.state
        self._counts.update({trial.state: 1} if before is None else {trial.state: 1, before: -1})
        waiting = {"pending": self._planned - handed, "queued": handed - len(self._states)}
        for state in STATES:
            self._trials.set(max(0, waiting.get(state, self._counts[state])), self._tags(state=state))
        if trial.phase == "search" and trial.state == "completed" and trial.val is not None:
            self._bests[trial.arm] = max(trial.val, self._bests.get(trial.arm, trial.val))
            self._best.set(self._bests[trial.arm], self._tags(arm=trial.arm))

    def epoch(self, arm: str, record: EpochRecord) -> None:
        """Take note of an epoch of a trial of ``arm``."""
        self._progress.set(time.time(), self._tags())
        self._epochs.inc(1, self._tags(arm=arm))
        self._seen.inc(self._images, self._tags(arm=arm))
        if record.val is not None:
            self._val.set(record.val, self._tags(arm=arm))
        for layer in record.layers:
            tags = self._tags(arm=arm, layer=layer.layer)
            self._multiplier.set(layer.multiplier, tags)
            self._divergence.set(layer.divergence, tags)
            if layer.chance:
                self._over_chance.set(layer.divergence / layer.chance, tags)

    def published(self, waiting: int, trouble: str | None) -> None:
        """Take note of how MLflow keeps up.

        Args:
            waiting: Trials that are not up to date there.
            trouble: The last error; None when the last attempt went well.
        """
        self._waiting.set(waiting, self._tags())
        self._trouble.set(trouble is not None, self._tags())

    def _tags(self, **tags: str) -> dict[str, str]:
        return {"study": self._id, **tags}


def _gauge(name: str, description: str, *tags: str) -> Gauge:
    return Gauge(name, description, tag_keys=("study", *tags))


def _counter(name: str, description: str, *tags: str) -> Counter:
    return Counter(name, description, tag_keys=("study", *tags))
