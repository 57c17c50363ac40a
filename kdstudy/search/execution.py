"""Hand every trial that is left to Ray Tune, and write down what becomes of each."""

from __future__ import annotations

import math
import secrets
import shutil
from collections import deque
from collections.abc import Callable
from functools import partial

from kdstudy.errors import ClusterError
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.search.hold import preemptible
from kdstudy.search.progress import Progress
from kdstudy.search.queue import TrialQueue
from kdstudy.search.scribe import Scribe
from kdstudy.search.sharing import Sharing
from kdstudy.storage import Folder
from kdstudy.store import Store
from kdstudy.study import Study
from kdstudy.tracking import Publisher


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
        self._scribe = Scribe()
        # Numbers of trials whose end is not in the ledger yet, and the trials whose end the queue does not know yet.
        self._ending: set[int] = set()
        self._ended_trials: deque[TrialRecord] = deque()

    def run(self, capacity: int, teacher: Folder, sharing: Sharing) -> dict[str, float]:
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
        study = self._study
        recorded = self._ledger.study(self._id).lag
        lag = study.search.lag or recorded or max(1, math.ceil(capacity / len(study.arms)))
        self._ledger.update_study(self._id, lag=lag)
        queue = TrialQueue(study, self._id, self._ledger, lag=lag, seeds=self._seeds, sharing=sharing, record=self._add)
        known = self._ledger.trials(self._id)
        done = sum(trial.done for trial in known)
        progress = Progress(done + len(queue), done, capacity, study.max_epochs)
        if len(queue):
            with preemptible() as stopping:
                self._tune(queue, progress, teacher, stopping)
                self._scribe.close()
                if stopping():
                    raise KeyboardInterrupt
        return dict(progress.split())

    def _tune(self, queue: TrialQueue, progress: Progress, teacher: Folder, stopping: Callable[[], bool]) -> None:
        from ray import tune
        from ray.exceptions import RayError
        from ray.tune.error import TuneError

        from kdstudy.search.tune import QueueSearcher, Recorder, preemptible_trainable, scheduler_of
        from kdstudy.search.worker import run_in_worker

        resources = self._study.resources
        raised: list[Exception] = []
        trainable = tune.with_resources(
            preemptible_trainable(
                tune.with_parameters(
                    run_in_worker,
                    teacher=teacher,
                    folder=self._store.study(self._id),
                    cache=self._store.cache / self._id,
                    data=self._ledger.study(self._id).dataset["fingerprint"],
                )
            ),
            {"cpu": resources.cpus, "gpu": resources.gpus},
        )
        recorder = Recorder(
            self._started, partial(self._epoch, progress), partial(self._ended, progress), stopping, raised
        )
        notes = f"{self._id}-{secrets.token_hex(4)}"
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=QueueSearcher(queue, lambda: self._settled(queue), stopping, raised),
                num_samples=-1,
                reuse_actors=True,
                scheduler=scheduler_of(self._study.search.pruner, self._study.max_epochs, stopping),
                trial_name_creator=lambda trial: f"trial-{trial.config['trial']}",
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name=notes,
                storage_path=str(self._store.ray),
                verbose=0,
                callbacks=[recorder],
                failure_config=tune.FailureConfig(max_failures=resources.max_failures),
            ),
        )
        try:
            tuner.fit()
        except (TuneError, RayError, RuntimeError) as error:
            if raised:
                raise raised[0] from None  # ours, which Tune has wrapped
            reason = str(error).strip().splitlines()[-1]
            raise ClusterError(f"ray: the cluster was lost ({reason}); `kdstudy resume {self._id}` goes on") from error
        finally:
            shutil.rmtree(self._store.ray / notes, ignore_errors=True)

    def _add(self, trial: TrialRecord) -> None:
        self._scribe.put(lambda: self._ledger.add_trial(trial))

    def _started(self, number: int) -> None:
        def write() -> None:
            self._ledger.start_trial(self._id, number)
            self._publisher.notify(number)

        self._scribe.put(write)

    def _epoch(self, progress: Progress, number: int, record: EpochRecord) -> None:
        def write() -> None:
            self._ledger.record_epoch(self._id, number, record)
            self._publisher.notify(number)
            progress.epoch(self._ledger.trial(self._id, number), record)

        self._scribe.put(write)

    def _ended(self, progress: Progress, number: int, result: TrialResult) -> None:
        def write() -> None:
            self._ledger.finish_trial(self._id, number, result)
            trial = self._ledger.trial(self._id, number)
            self._publisher.notify(number)
            progress.ended(trial)
            if result.state != "failed":
                (self._store.trial(self._id, number) / "checkpoints").clear()
            self._ended_trials.append(trial)
            self._ending.discard(number)

        self._ending.add(number)
        self._scribe.put(write)

    def _settled(self, queue: TrialQueue) -> bool:
        """Tell the queue of every trial that has ended; return whether it knows of all."""
        self._scribe.complain()
        if self._ending:
            return False
        while self._ended_trials:
            queue.ended(self._ended_trials.popleft())
        return True
