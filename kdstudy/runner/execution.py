"""Has every trial that is left run by the cluster, and writes down what becomes of each."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Sequence

from kdstudy.cluster import Cluster, PackJob
from kdstudy.ledger import TrialRecord
from kdstudy.runner.cache_progress import CacheProgress
from kdstudy.runner.dispatcher import Dispatcher
from kdstudy.runner.observers import Measuring, Observer, Publishing, Tidying
from kdstudy.runner.open_study import OpenStudy
from kdstudy.runner.progress import Progress
from kdstudy.runner.signals import preemptible
from kdstudy.runner.writer import Writer
from kdstudy.search import CachePlan, PackPlan, TrialPlanner, known_results
from kdstudy.storage import Folder
from kdstudy.tracking import Publisher

log = logging.getLogger(__name__)


class Execution:
    """The trials of one study.

    Args:
        opened: The study.
        cluster: Runs them.
        publisher: Told of each change.
        teacher: The teacher's folder.
        sharing: What the trials share of its outputs.
        capacity: Processes that the cluster holds at once now.
        observers: Told of every event, after the driver's own.
    """

    def __init__(  # noqa: PLR0913 - all but the first three by name
        self,
        opened: OpenStudy,
        cluster: Cluster,
        publisher: Publisher,
        *,
        teacher: Folder,
        sharing: CachePlan,
        capacity: int,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._open, self._cluster, self._publisher = opened, cluster, publisher
        self._teacher, self._sharing, self._capacity = teacher, sharing, capacity
        self._packs = PackPlan(opened.study, sharing, capacity)
        self._writer = Writer()
        self._known = opened.ledger.trials(opened.id)
        self.planner = self._plan()
        done = sum(trial.done for trial in self._known)
        self.progress = Progress(opened.study, opened.id, opened.ledger, total=self.planner.total, done=done)
        self.dispatcher = Dispatcher(
            planner=self.planner,
            most=self._packs.most,
            capacity=capacity,
            ledger=opened.ledger,
            writer=self._writer,
            observers=[*self._observers(self._known), *observers],
        )

    def run(self) -> dict[str, float]:
        """Run what is left.

        Returns:
            Seconds of wall time by phase.

        Raises:
            ClusterError: The cluster was lost.
            StoreError: A store does not work, or the ledger has been away for too long.
            KeyboardInterrupt: It was told to stop, and the trials have come to a safe point.
        """
        if len(self.planner):
            try:
                self._run()
            except BaseException:
                self._open.ledger.shorten_retries()
                with contextlib.suppress(Exception):  # what has been reported is written, if it can be
                    self.close()
                raise
        return dict(self.progress.split())

    def close(self) -> None:
        """Wait until all that was reported is written.

        Raises:
            Exception: What could not be written.
        """
        self._writer.close()

    def _run(self) -> None:
        files = CacheProgress(self._open.store.cache / self._open.id, self._sharing.files)
        with preemptible() as stopping, self.progress, files:
            while len(self.planner) and not stopping():
                self._cluster.run_packs(self._job(), self.dispatcher, stopping)
                self.dispatcher.settle()
                gc.collect()  # what Tune keeps of its trials hangs together in circles
            self.close()
            if stopping():
                raise KeyboardInterrupt

    def _plan(self) -> TrialPlanner:
        opened, writer = self._open, self._writer
        for line in self._packs.summary_lines():
            log.info(line)
        lag = opened.study.search.lag or opened.record.lag or self._packs.lag
        opened.ledger.update_study(opened.id, lag=lag)
        return TrialPlanner(
            opened.study,
            opened.id,
            opened.ledger,
            lag=lag,
            seeds=opened.seeds,
            searches=opened.searches,
            sharing=self._sharing,
            record=lambda trial: writer.put(lambda: opened.ledger.add_trial(trial)),
            warm=known_results(opened.ledger, opened.id),
            guesses=opened.ledger.guesses(opened.id),
            common_weights=opened.record.checked is not None,  # older versions recorded a study's text alone
        )

    def _observers(self, known: Sequence[TrialRecord]) -> list[Observer]:
        from kdstudy.cluster import StudyMetrics

        images = self._open.record.dataset.train or 0
        metrics = StudyMetrics(self._open.id, planned=self.progress.total, images=images)
        return [
            Publishing(self._publisher),
            self.progress,
            Measuring(metrics, self._publisher, known, self.planner.handed),
            Tidying(self._open.store),
        ]

    def _job(self) -> PackJob:
        opened = self._open
        return PackJob(
            study_id=opened.id,
            teacher=self._teacher,
            folder=opened.store.study(opened.id),
            cache=opened.store.cache / opened.id,
            data=opened.record.dataset.fingerprint or "",
            resources=opened.study.resources,
            capacity=self._capacity,
            pruner=opened.study.search.pruner,
            trials=opened.ledger.trials(opened.id),
            scores=opened.ledger.scores(opened.id),
            notes=opened.store.ray,
        )
