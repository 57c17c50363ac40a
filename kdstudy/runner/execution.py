"""Hand every trial that is left to Ray Tune, and write down what becomes of each."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.runner.cache_progress import Building
from kdstudy.runner.progress import Progress, say
from kdstudy.runner.signals import preemptible
from kdstudy.runner.writer import Scribe
from kdstudy.search import CachePlan, PackPlan, TrialPlanner, known_results
from kdstudy.storage import Folder, Store
from kdstudy.study import Study
from kdstudy.tracking import Publisher

if TYPE_CHECKING:
    from kdstudy.runner.recorder import Recording


class Execution:
    """The trials of one study on Ray Tune.

    Args:
        study: The study.
        study_id: Its ID in the ledger.
        ledger: The record.
        store: Where trials leave checkpoints and students.
        publisher: Told of each change.
        seeds: Confirmation seeds in all.
    """

    def __init__(
        self, study: Study, study_id: str, ledger: Ledger, store: Store, publisher: Publisher, seeds: int
    ) -> None:
        self._study, self._id, self._ledger, self._store = study, study_id, ledger, store
        self._publisher, self._seeds = publisher, seeds

    def run(self, capacity: int, teacher: Folder, sharing: CachePlan) -> dict[str, float]:
        """Run what is left.

        Args:
            capacity: Trials that the cluster holds at once now.
            teacher: The teacher's folder.
            sharing: What the trials share of its outputs.

        Returns:
            Seconds of wall time by phase.

        Raises:
            ClusterError: The cluster was lost.
            StoreError: A store does not work, or the ledger has been away for too long.
            KeyboardInterrupt: It was told to stop, and the trials have come to a safe point.
        """
        from kdstudy.cluster import run_packs

        study = self._study
        packing = PackPlan(study, sharing, capacity)
        for line in packing.summary_lines():
            say(line)
        lag = study.search.lag or self._ledger.study(self._id).lag or packing.lag
        self._ledger.update_study(self._id, lag=lag)
        scribe = Scribe()
        queue = TrialPlanner(
            study,
            self._id,
            self._ledger,
            lag=lag,
            seeds=self._seeds,
            sharing=sharing,
            record=lambda trial: scribe.put(lambda: self._ledger.add_trial(trial)),
            warm=known_results(self._ledger, self._id),
        )
        known = self._ledger.trials(self._id)
        done = sum(trial.done for trial in known)
        progress = Progress(study, self._id, self._ledger, total=queue.total, done=done)
        if len(queue):
            recording = self._recording(queue, known, scribe, progress, capacity)
            try:
                building = Building(self._store.cache / self._id, sharing.files)
                with preemptible() as stopping, progress, building:
                    while len(queue) and not stopping():
                        run_packs(
                            study,
                            self._id,
                            queue,
                            recording,
                            ledger=self._ledger,
                            store=self._store,
                            teacher=teacher,
                            most=packing.most,
                            capacity=capacity,
                            stopping=stopping,
                        )
                        recording.settle()
                        gc.collect()  # what Tune keeps of its trials hangs together in circles
                    scribe.close()
                    if stopping():
                        raise KeyboardInterrupt
            except BaseException:
                self._ledger.shorten_retries()
                with contextlib.suppress(Exception):  # what has been reported is written, if it can be
                    scribe.close()
                raise
        return dict(progress.split())

    def _recording(
        self, queue: TrialPlanner, known: Sequence[TrialRecord], scribe: Scribe, progress: Progress, capacity: int
    ) -> Recording:
        from kdstudy.cluster import StudyMetrics
        from kdstudy.runner.recorder import Recording

        images = self._ledger.study(self._id).dataset.train or 0
        metrics = StudyMetrics(self._id, planned=progress.total, images=images)
        for trial in known:
            if trial.done:
                metrics.changed(trial, queue.handed)
        return Recording(
            queue,
            self._id,
            capacity=capacity,
            ledger=self._ledger,
            store=self._store,
            scribe=scribe,
            publisher=self._publisher,
            progress=progress,
            metrics=metrics,
        )
