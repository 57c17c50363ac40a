"""Run the trials that a planner hands out on Ray Tune, until none is left or a stop was asked for."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError

from kdstudy.cluster.scheduler import scheduler_of
from kdstudy.cluster.tune import Listener, QueueSearcher, Recorder, keep_keys_out_of_logs, preemptible_trainable
from kdstudy.cluster.worker import run_in_worker
from kdstudy.errors import ClusterError
from kdstudy.ledger import Ledger
from kdstudy.search import TrialPlanner
from kdstudy.storage import Folder, Store
from kdstudy.study import Study


def run_packs(  # noqa: PLR0913 - all but the first four by name
    study: Study,
    study_id: str,
    queue: TrialPlanner,
    listener: Listener,
    *,
    ledger: Ledger,
    store: Store,
    teacher: Folder,
    most: Callable[[str], int],
    capacity: int,
    stopping: Callable[[], bool],
) -> None:
    """Run trials until the queue is empty, `limit_of` packs were handed out, or ``stopping`` says so.

    Args:
        study: The study.
        study_id: Its ID.
        queue: What to run.
        listener: Notified of every start, epoch and end.
        ledger: Read for what earlier drivers recorded.
        store: Where trials leave checkpoints and students.
        teacher: The teacher's folder.
        most: Search trials that may train in one process, by transfer method.
        capacity: Processes that the cluster holds at once.
        stopping: Whether trials are to end at their next report.

    Raises:
        ClusterError: The cluster was lost.
    """
    resources, folder = study.resources, store.study(study_id)
    raised: list[Exception] = []
    trainable = tune.with_resources(
        preemptible_trainable(
            tune.with_parameters(
                run_in_worker,
                teacher=teacher,
                folder=folder,
                cache=store.cache / study_id,
                data=ledger.study(study_id).dataset.fingerprint,
            )
        ),
        {"cpu": resources.cpus, "gpu": resources.gpus},
    )
    scheduler = scheduler_of(study.search.pruner, ledger.trials(study_id), ledger.scores(study_id), stopping)
    notes = f"{study_id}-{secrets.token_hex(4)}"
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=QueueSearcher(queue, listener, most, stopping, raised, limit_of(capacity)),
            num_samples=-1,
            reuse_actors=True,
            scheduler=scheduler,
            trial_name_creator=lambda trial: "-".join(["trial", *map(str, trial.config["trials"])]),
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=notes,
            storage_path=str(store.ray),
            verbose=0,
            callbacks=[Recorder(listener, folder, scheduler.pruned, stopping, raised)],
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
        raise ClusterError(f"ray: the cluster was lost ({reason}); `kdstudy resume {study_id}` goes on") from error
    finally:
        shutil.rmtree(store.ray / notes, ignore_errors=True)


def limit_of(capacity: int) -> int:
    """Return how many trials Tune is given before it is begun anew, which costs each process at most one trial's time.

    It forgets no trial, and looks at each again and again: a study of thousands would grow and slow down.
    """
    return max(500, 50 * capacity)
