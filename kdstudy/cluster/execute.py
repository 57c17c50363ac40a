"""Run packs of trials on Ray Tune until none is left or a stop was asked for: all that others see of Tune."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError

from kdstudy.cluster.events import PackSource
from kdstudy.cluster.jobs import PackJob
from kdstudy.cluster.rank_actors import resources_of
from kdstudy.cluster.scheduler import scheduler_of
from kdstudy.cluster.tune import EventCallback, PackSearcher, choose_variables_of_trials, preemptible_trainable
from kdstudy.cluster.worker import run_in_worker
from kdstudy.errors import ClusterError
from kdstudy.settings import scoped_environment


def run_packs(job: PackJob, source: PackSource, stopping: Callable[[], bool]) -> None:
    """Run packs until the source has none, `limit_of` were handed out, or ``stopping`` says so.

    Args:
        job: What they need.
        source: Gives them, and is notified of every start, epoch and end.
        stopping: Whether trials are to end at their next report.

    Raises:
        ClusterError: The cluster was lost.
        Exception: What the source raised.
    """
    raised: list[Exception] = []
    notes = f"{job.study_id}-{secrets.token_hex(4)}"
    tuner = _tuner(job, source, stopping, raised, notes)
    choose_variables_of_trials()
    try:
        # Else processes are started one after another.
        with scoped_environment({"TUNE_MAX_PENDING_TRIALS_PG": str(job.capacity)}, override=True):
            tuner.fit()
    except (TuneError, RayError, RuntimeError) as error:
        if raised:
            raise raised[0] from None  # ours, which Tune has wrapped
        reason = str(error).strip().splitlines()[-1]
        raise ClusterError(
            f"ray: the cluster was lost ({reason}); continue with `kdstudy resume {job.study_id}`"
        ) from error
    finally:
        shutil.rmtree(job.notes / notes, ignore_errors=True)


def limit_of(capacity: int) -> int:
    """Return how many packs Tune is given before it is begun anew, which costs each process at most one trial's time.

    It forgets no trial, and looks at each again and again: a study of thousands would grow and slow down.
    """
    return max(500, 50 * capacity)


def _tuner(
    job: PackJob, source: PackSource, stopping: Callable[[], bool], raised: list[Exception], notes: str
) -> tune.Tuner:
    scheduler = scheduler_of(job.pruner, job.trials, job.scores, stopping)
    return tune.Tuner(
        _trainable(job),
        tune_config=tune.TuneConfig(
            search_alg=PackSearcher(source, stopping, raised, limit_of(job.capacity)),
            num_samples=-1,
            reuse_actors=True,
            scheduler=scheduler,
            trial_name_creator=lambda trial: "-".join(["trial", *map(str, trial.config["trials"])]),
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=notes,
            storage_path=str(job.notes),
            verbose=0,
            callbacks=[EventCallback(source, job.folder, scheduler.pruned, stopping, raised)],
            failure_config=tune.FailureConfig(max_failures=job.resources.max_failures),
        ),
    )


def _trainable(job: PackJob) -> Any:
    run = tune.with_parameters(run_in_worker, teacher=job.teacher, folder=job.folder, cache=job.cache, data=job.data)
    return tune.with_resources(preemptible_trainable(run), resources_of(job.resources))
