"""Hand every trial that is left to Ray Tune, and write down what becomes of each."""

from __future__ import annotations

import contextlib
import gc
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kdstudy.errors import ClusterError
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.search.building import Building
from kdstudy.search.hold import preemptible
from kdstudy.search.packing import Packing
from kdstudy.search.progress import Progress, say
from kdstudy.search.queue import TrialQueue
from kdstudy.search.scribe import Scribe
from kdstudy.search.sharing import Sharing
from kdstudy.search.warm import known_results
from kdstudy.storage import Folder
from kdstudy.store import Store
from kdstudy.study import Study
from kdstudy.tracking import Publisher

if TYPE_CHECKING:
    from kdstudy.search.recording import Recording


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
        packing = Packing(study, sharing, capacity)
        for line in packing.told():
            say(line)
        lag = study.search.lag or self._ledger.study(self._id).lag or packing.lag
        self._ledger.update_study(self._id, lag=lag)
        scribe = Scribe()
        queue = TrialQueue(
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
                        self._tune(queue, recording, teacher, packing.most, capacity, stopping)
                        recording.settle()
                        gc.collect()  # what Tune keeps of its trials hangs together in circles
                    scribe.close()
                    if stopping():
                        raise KeyboardInterrupt
            except BaseException:
                self._ledger.hurry()
                with contextlib.suppress(Exception):  # what has been reported is written, if it can be
                    scribe.close()
                raise
        return dict(progress.split())

    def _recording(
        self, queue: TrialQueue, known: Sequence[TrialRecord], scribe: Scribe, progress: Progress, capacity: int
    ) -> Recording:
        from kdstudy.search.metrics import StudyMetrics
        from kdstudy.search.recording import Recording

        images = self._ledger.study(self._id).dataset["train"]
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

    def _tune(
        self,
        queue: TrialQueue,
        recording: Recording,
        teacher: Folder,
        most: Callable[[str], int],
        capacity: int,
        stopping: Callable[[], bool],
    ) -> None:
        from ray import tune
        from ray.exceptions import RayError
        from ray.tune.error import TuneError

        from kdstudy.search.pruning import scheduler_of
        from kdstudy.search.tune import QueueSearcher, Recorder, keep_keys_out_of_logs, preemptible_trainable
        from kdstudy.search.worker import run_in_worker

        resources, folder = self._study.resources, self._store.study(self._id)
        raised: list[Exception] = []
        trainable = tune.with_resources(
            preemptible_trainable(
                tune.with_parameters(
                    run_in_worker,
                    teacher=teacher,
                    folder=folder,
                    cache=self._store.cache / self._id,
                    data=self._ledger.study(self._id).dataset["fingerprint"],
                )
            ),
            {"cpu": resources.cpus, "gpu": resources.gpus},
        )
        scheduler = scheduler_of(
            self._study.search.pruner, self._ledger.trials(self._id), self._ledger.scores(self._id), stopping
        )
        recorder = Recorder(recording, folder, scheduler.pruned, stopping, raised)
        notes = f"{self._id}-{secrets.token_hex(4)}"
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=QueueSearcher(queue, recording, most, stopping, raised, limit_of(capacity)),
                num_samples=-1,
                reuse_actors=True,
                scheduler=scheduler,
                trial_name_creator=lambda trial: "-".join(["trial", *map(str, trial.config["trials"])]),
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
        keep_keys_out_of_logs()
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(capacity)  # else processes are started one after another
        try:
            tuner.fit()
        except (TuneError, RayError, RuntimeError) as error:
            if raised:
                raise raised[0] from None  # ours, which Tune has wrapped
            reason = str(error).strip().splitlines()[-1]
            raise ClusterError(f"ray: the cluster was lost ({reason}); `kdstudy resume {self._id}` goes on") from error
        finally:
            shutil.rmtree(self._store.ray / notes, ignore_errors=True)


def limit_of(capacity: int) -> int:
    """Return how many trials Tune is given before it is begun anew, which costs each process at most one trial's time.

    It forgets no trial, and looks at each again and again: a study of thousands would grow and slow down.
    """
    return max(500, 50 * capacity)
