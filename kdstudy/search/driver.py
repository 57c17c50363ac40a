"""Drive a study from its file, or from wherever it was left, to its end.

The driver alone writes the ledger. It holds the study while it works, so that two drivers never do the same, and it
may be killed at any moment: what the ledger says then is what `resume_study` goes on from.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import shutil
import time
from typing import Any

from kdstudy.cluster import check_address, connected, fetch, slots
from kdstudy.environment import capture
from kdstudy.errors import ClusterError, KdstudyError, ModelError, PluginError, StoreError
from kdstudy.ledger import Holder, Ledger, StudyRecord, new_study_id
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.search.hold import held, terminable
from kdstudy.search.outcome import Outcome, outcome_of, publish_outcome
from kdstudy.search.progress import Progress, clock, say
from kdstudy.search.queue import TrialQueue
from kdstudy.search.sharing import Sharing, keep_of, measured
from kdstudy.store import Store
from kdstudy.study import Study, TrialConfig, parse_study
from kdstudy.tracking import Publisher, Tracker

PUBLISH_SECONDS = 60.0
"""How long the end of a study waits for MLflow; what is not delivered then stays in the ledger."""
LEAVE_SECONDS = 5.0
"""The same where the study is left unfinished."""


def run_study(study: Study, store: Store, *, address: str | None = None) -> Outcome:
    """Run a new study to its end.

    Args:
        study: A valid study; every call makes a new one in the ledger.
        store: Created if missing.
        address: Ray cluster; None starts one here.

    Raises:
        KdstudyError: It cannot be run here.
        KeyboardInterrupt: It was interrupted; the ledger says so.
    """
    check_address(address)
    store.create()
    record = StudyRecord(
        id=new_study_id(study.name), name=study.name, seed=study.seed, text=study.text, environment=capture()
    )
    with Ledger.open(store.ledger_url, create=True) as ledger:
        holder = Holder.here()
        ledger.create_study(record, holder)
        say(f"study {record.id}")
        return _Drive(study, record.id, ledger, store, address, study.confirm.seeds).run(holder)


def resume_study(reference: str, store: Store, *, address: str | None = None) -> Outcome:
    """Go on with a study that was interrupted; a finished one only gets its result again.

    Args:
        reference: ID, unique prefix, or ``latest``.
        store: Where it was run.
        address: As for `run_study`.

    Raises:
        RecordError: No such study.
        StoreError: Another driver holds it.
    """
    with Ledger.open(store.ledger_url) as ledger:
        record = ledger.study(ledger.resolve(reference))
        if record.status == "finished":
            return outcome_of(ledger, record.id)
        return _continue(record, ledger, store, address, extra_seeds=0)


def confirm_study(reference: str, store: Store, *, seeds: int, address: str | None = None) -> Outcome:
    """Run ``seeds`` further fresh confirmation seeds of every arm, recorded as exploratory.

    Args:
        reference: As for `resume_study`.
        store: Where it was run.
        seeds: At least 1.
        address: As for `run_study`.

    Raises:
        RecordError: No such study.
        StoreError: Another driver holds it.
    """
    with Ledger.open(store.ledger_url) as ledger:
        record = ledger.study(ledger.resolve(reference))
        return _continue(record, ledger, store, address, extra_seeds=seeds)


def _continue(record: StudyRecord, ledger: Ledger, store: Store, address: str | None, *, extra_seeds: int) -> Outcome:
    check_address(address)
    study_id, study = record.id, parse_study(record.text, record.id)
    seeds = (record.seeds or study.confirm.seeds) + extra_seeds
    holder = Holder.here()
    ledger.hold(study_id, holder)
    ledger.requeue(study_id)
    ledger.update_study(study_id, status="running", message=None, seeds=seeds)
    say(f"study {study_id}")
    return _Drive(study, study_id, ledger, store, address, seeds).run(holder)


class _Drive:
    """One driver's work on one study."""

    def __init__(
        self, study: Study, study_id: str, ledger: Ledger, store: Store, address: str | None, seeds: int
    ) -> None:
        self._study, self._id, self._ledger, self._store = study, study_id, ledger, store
        self._address, self._seeds = address, seeds
        self._publisher: Publisher | None = None

    def run(self, holder: Holder) -> Outcome:
        """Run to the end; whatever stops it is written down first."""
        try:
            with held(self._ledger, self._id, holder), terminable():
                return self._run()
        except KeyboardInterrupt:
            self._leave("interrupted", None)
            raise
        except ClusterError as error:
            self._leave("interrupted", str(error))
            raise
        except KdstudyError as error:
            self._leave("failed", str(error))
            raise
        except BaseException:
            self._leave("interrupted", None)
            raise
        finally:
            self._ledger.release(self._id, holder)

    def _leave(self, status: str, message: str | None) -> None:
        """Write down that the study stands still: what was running goes back to the queue."""
        with contextlib.suppress(StoreError):  # a hold that was lost: the study is another driver's now
            if self._ledger.study(self._id).status == "finished":
                return
            self._ledger.requeue(self._id)
            self._ledger.update_study(self._id, status=status, message=message)
        if self._publisher is not None:
            self._publisher.close(LEAVE_SECONDS)
        say(f"study {self._id} is {status}; `kdstudy resume {self._id}` goes on from here")

    def _run(self) -> Outcome:
        began = time.monotonic()
        tracker = Tracker(self._store.tracking_uri, self._store.artifacts)
        with connected(self._address, self._store.root):
            resources = self._study.resources
            capacity = slots(resources.cpus, resources.gpus)
            ready = time.monotonic()
            say(f"ray is up with room for {capacity} trial{'s' * (capacity != 1)} at once ({clock(ready - began)})")
            teacher_folder = self._prepare()
            taught = time.monotonic()
            self._open_tracking(tracker)
            split = self._search(capacity, teacher_folder)
            self._score_teacher()
        outcome = self._close(tracker)
        say(
            f"set-up {clock(ready - began)}, teacher {clock(taught - ready)}, search {clock(split['search'])}, "
            f"confirmation {clock(split['confirmation'])}, all {clock(time.monotonic() - began)}"
        )
        return outcome

    def _prepare(self) -> str:
        """Prepare teacher and data on the cluster, see that every arm can be built; return the teacher's folder."""
        import ray

        from kdstudy.search.worker import prepare_in_worker

        teacher = self._study.teacher
        source = f"training it for {teacher.epochs} epochs" if teacher.path is None else f"loading {teacher.path}"
        say(f"teacher: {teacher.model.name}, {source} (unless the store has it)")
        task = ray.remote(prepare_in_worker).options(
            num_cpus=self._study.resources.cpus, num_gpus=self._study.resources.gpus
        )
        recorded = self._ledger.study(self._id)
        configs = [config.to_json() for config in measured(self._corner_configs())]
        found = fetch(task.remote(configs, str(self._store.teachers), recorded.teacher.get("key")))
        if "traceback" in found:
            say(found["traceback"])
            raise PluginError(f"preparing the study failed ({found['error']}); its traceback stands above")
        if "error" in found:
            raise ModelError(found["error"])
        for part, key in (("dataset", "fingerprint"), ("teacher", "sha256")):
            before = getattr(recorded, part).get(key)
            if before not in (None, found[part][key]):
                raise StoreError(
                    f"{part}: its {key} is {found[part][key][:16]}, but the study began with {before[:16]}; "
                    "restore what it began with, or run the study anew"
                )
        self._ledger.update_study(self._id, teacher={**recorded.teacher, **found["teacher"]}, dataset=found["dataset"])
        self._sharing = Sharing(self._study, [keep_of(keep) for keep in found["keeps"]])
        say(f"teacher: validation {found['teacher']['val']:.4f}, trained in {clock(found['teacher']['seconds'])}")
        for line in self._sharing.told():
            say(line)
        return str(self._store.teachers / found["teacher"]["key"])

    def _corner_configs(self) -> list[TrialConfig]:
        return [
            self._study.config(
                arm.name,
                {path: hole.ends()[0] for path, hole in self._study.space(arm).items()},
                data_seed=0,
                init_seed=0,
            )
            for arm in self._study.arms
        ]

    def _open_tracking(self, tracker: Tracker) -> None:
        self._ledger.update_study(self._id, tracking=tracker.open_study(self._ledger.study(self._id)))
        self._publisher = Publisher(tracker, self._ledger, self._id)
        self._publisher.catch_up()

    def _search(self, capacity: int, teacher_folder: str) -> dict[str, float]:
        """Hand every trial that is left to Ray Tune."""
        study = self._study
        recorded = self._ledger.study(self._id).lag
        lag = study.search.lag or recorded or max(1, math.ceil(capacity / len(study.arms)))
        self._ledger.update_study(self._id, lag=lag)
        queue = TrialQueue(study, self._id, self._ledger, lag=lag, seeds=self._seeds, sharing=self._sharing)
        known = self._ledger.trials(self._id)
        done = sum(trial.done for trial in known)
        progress = Progress(done + len(queue), done, capacity, self._study.max_epochs)
        if len(queue):
            self._tune(queue, progress, teacher_folder)
        return dict(progress.split())

    def _tune(self, queue: TrialQueue, progress: Progress, teacher_folder: str) -> None:
        from ray import tune
        from ray.exceptions import RayError
        from ray.tune.error import TuneError

        from kdstudy.search.tune import QueueSearcher, scheduler_of
        from kdstudy.search.worker import run_in_worker

        resources = self._study.resources
        raised: list[Exception] = []
        trainable = tune.with_resources(
            tune.with_parameters(
                run_in_worker,
                teacher=teacher_folder,
                folder=str(self._store.study(self._id)),
                cache=str(self._store.cache / self._id),
            ),
            {"cpu": resources.cpus, "gpu": resources.gpus},
        )
        notes = f"{self._id}-{secrets.token_hex(4)}"
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=QueueSearcher(queue, raised),
                num_samples=-1,
                reuse_actors=True,
                scheduler=scheduler_of(self._study.search.pruner, self._study.max_epochs),
                trial_name_creator=lambda trial: f"trial-{trial.config['trial']}",
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name=notes,
                storage_path=str(self._store.ray),
                verbose=0,
                callbacks=[self._recorder(queue, progress, raised)],
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

    def _recorder(self, queue: TrialQueue, progress: Progress, raised: list[Exception]) -> Any:
        from kdstudy.search.tune import Recorder

        assert self._publisher is not None
        publisher, ledger, study_id = self._publisher, self._ledger, self._id

        def started(number: int) -> None:
            ledger.start_trial(study_id, number)
            publisher.notify(number)

        def epoch(number: int, record: EpochRecord) -> None:
            ledger.record_epoch(study_id, number, record)
            publisher.notify(number)
            progress.epoch(ledger.trial(study_id, number), record)

        def ended(number: int, result: TrialResult) -> None:
            ledger.finish_trial(study_id, number, result)
            trial = ledger.trial(study_id, number)
            queue.ended(trial)
            publisher.notify(number)
            progress.ended(trial)
            if result.state != "failed":
                shutil.rmtree(self._store.trial(study_id, number) / "checkpoints", ignore_errors=True)

        return Recorder(started, epoch, ended, raised)

    def _score_teacher(self) -> None:
        """Score the teacher's test split once students have been: difficulty is 1 minus it."""
        import ray

        from kdstudy.search.worker import score_teacher_in_worker

        teacher = self._ledger.study(self._id).teacher
        if "test" in teacher or not self._ledger.trials(self._id, "confirm"):
            return
        score = fetch(
            ray.remote(score_teacher_in_worker)
            .options(num_cpus=self._study.resources.cpus)
            .remote(self._corner_configs()[0].to_json(), str(self._store.teachers), teacher["key"])
        )
        self._ledger.update_study(self._id, teacher={**teacher, "test": score})

    def _close(self, tracker: Tracker) -> Outcome:
        assert self._publisher is not None
        unpublished = self._publisher.close(PUBLISH_SECONDS)
        self._ledger.update_study(self._id, status="finished", message=None)
        shutil.rmtree(self._store.cache / self._id, ignore_errors=True)
        outcome = outcome_of(self._ledger, self._id, unpublished)
        if unpublished:  # the tracker may still be in use; `sync` delivers the rest
            return outcome
        try:
            publish_outcome(tracker, outcome, self._store)
            tracker.close()
        except StoreError as error:
            say(f"warning: {error}; the record is whole, `kdstudy sync {self._id}` delivers it later")
        return outcome
