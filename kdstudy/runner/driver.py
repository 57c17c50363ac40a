"""Drive a study from its file, or from wherever it was left, to its end.

The driver alone writes the ledger. It holds the lease of the study while it works, so that no two drivers do the same,
and may be killed at any moment: what the ledger says then is what `resume_study` goes on from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time

from kdstudy.cluster import WAIT_SECONDS, check_address, check_nodes, connected, wait_for_room
from kdstudy.environment import capture
from kdstudy.errors import ClusterError, KdstudyError, StoreError
from kdstudy.ledger import LeaseOwner, Ledger, StudyRecord
from kdstudy.results import clock
from kdstudy.runner.execution import Execution
from kdstudy.runner.outcome import Outcome, deliver, outcome_of, publish_outcome, write_page
from kdstudy.runner.preparation import prepare, score_teacher
from kdstudy.runner.progress import say
from kdstudy.runner.signals import held, terminable
from kdstudy.search import check_warm_start, choose_warm_start, warm_start_lines
from kdstudy.storage import Store, require_download_inside
from kdstudy.study import Study, require_plugins
from kdstudy.tracking import Publisher, Tracker

PUBLISH_SECONDS = 60.0
"""How long the end of a study waits for MLflow; what is not delivered then stays in the ledger."""
LEAVE_SECONDS = 5.0
"""The same where the study is left unfinished."""


def run_study(study: Study, store: Store, *, address: str | None = None, warm_start: str | None = None) -> Outcome:
    """Run a new study to its end.

    Args:
        study: A valid study; every call makes a new one in the ledger.
        store: Created if missing.
        address: Ray cluster; None starts one here.
        warm_start: An earlier study in the same ledger, from whose trials the samplers learn: ID, unique prefix, or
            ``latest``.

    Raises:
        KdstudyError: It cannot be run here, or the earlier study cannot serve it.
        KeyboardInterrupt: It was interrupted; the ledger says so.
    """
    check_address(address)
    warm = None
    if warm_start is not None:
        with Ledger.open(store.ledger_url) as ledger:
            warm = choose_warm_start(study, warm_start, ledger)
    store.create()
    record = StudyRecord.of(study, capture())
    with Ledger.open(store.ledger_url, create=True) as ledger:
        owner = LeaseOwner.here()
        ledger.create_study(record, owner, warm)
        say(f"study {record.id}")
        for line in () if warm is None else warm_start_lines(warm, study.search.startup_trials):
            say(line)
        return _Drive(study, record.id, ledger, store, address, study.confirm.seeds).run(owner)


def resume_study(reference: str, store: Store, *, address: str | None = None) -> Outcome:
    """Go on with a study that was interrupted; of a finished one, deliver to MLflow what its driver could not.

    Args:
        reference: ID, unique prefix, or ``latest``.
        store: Where it was run.
        address: As for `run_study`.

    Raises:
        RecordError: No such study.
        StoreError: Another driver has its lease.
    """
    with Ledger.open(store.ledger_url) as ledger:
        record = ledger.study(ledger.resolve(reference))
        if record.status == "finished":
            return _conclude(record, ledger, store)
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
        StoreError: Another driver has its lease.
    """
    with Ledger.open(store.ledger_url) as ledger:
        record = ledger.study(ledger.resolve(reference))
        return _continue(record, ledger, store, address, extra_seeds=seeds)


def _continue(record: StudyRecord, ledger: Ledger, store: Store, address: str | None, *, extra_seeds: int) -> Outcome:
    check_address(address)
    study_id, study = record.id, record.study()
    require_plugins(study)
    if study.data.download:
        require_download_inside(study_id, study.data.root, store.local)
    seeds = (record.seeds or study.confirm.seeds) + extra_seeds
    owner = LeaseOwner.here()
    ledger.acquire_lease(study_id, owner)
    ledger.requeue(study_id)
    tracking = dataclasses.replace(record.tracking, complete=None)
    ledger.update_study(study_id, status="running", message=None, seeds=seeds, tracking=tracking)
    say(f"study {study_id}")
    return _Drive(study, study_id, ledger, store, address, seeds).run(owner)


def _conclude(record: StudyRecord, ledger: Ledger, store: Store) -> Outcome:
    """Return the result of a finished study, whose driver may have died before MLflow had it."""
    if record.tracking.complete:
        return outcome_of(ledger, record.id)
    owner = LeaseOwner.here()
    ledger.acquire_lease(record.id, owner)
    try:
        with terminable(), held(ledger, record.id, owner):
            deliver(ledger, record.id, store)
    except StoreError as error:
        say(f"warning: {error}")
        return outcome_of(ledger, record.id, max(1, len(ledger.unpublished(record.id))))
    finally:
        with contextlib.suppress(StoreError):  # then the lease goes stale
            ledger.release_lease(record.id, owner)
    return outcome_of(ledger, record.id)


class _Drive:
    """One driver's work on one study."""

    def __init__(
        self, study: Study, study_id: str, ledger: Ledger, store: Store, address: str | None, seeds: int
    ) -> None:
        self._study, self._id, self._ledger, self._store = study, study_id, ledger, store
        self._address, self._seeds = address, seeds
        self._publisher: Publisher | None = None

    def run(self, owner: LeaseOwner) -> Outcome:
        """Run to the end; whatever stops it is written down first."""
        try:
            with terminable(), held(self._ledger, self._id, owner):
                return self._run()
        except KeyboardInterrupt:
            self._leave("interrupted", None)
            raise
        except (ClusterError, StoreError) as error:  # what is amiss is not the study's fault
            self._leave("interrupted", str(error))
            raise
        except KdstudyError as error:
            self._leave("failed", str(error))
            raise
        except BaseException:
            self._leave("interrupted", None)
            raise
        finally:
            with contextlib.suppress(StoreError):  # then the lease goes stale
                self._ledger.release_lease(self._id, owner)

    def _leave(self, status: str, message: str | None) -> None:
        """Write down that the study stands still: what was running goes back to the queue.

        Where not even that can be written, the record says the same once the lease is stale.
        """
        self._ledger.shorten_retries()
        with contextlib.suppress(StoreError):  # a lease that was lost: the study is another driver's now
            if self._ledger.study(self._id).status == "finished":
                return
            self._ledger.requeue(self._id)
            self._ledger.update_study(self._id, status=status, message=message)
        if self._publisher is not None:
            self._publisher.close(LEAVE_SECONDS)
        say(f"study {self._id} is {status}; `kdstudy resume {self._id}` goes on from here")

    def _run(self) -> Outcome:
        began = time.monotonic()
        record = self._ledger.study(self._id)
        self._identity = self._store.create(record.environment.get("store"))
        self._ledger.update_study(self._id, environment={**record.environment, "store": self._identity})
        # The address of a new study may be mistyped, so it is tried at once; one that was in use may be away a while.
        known = record.tracking.run_id is not None
        tracker = Tracker(self._store.tracking_uri, self._store.artifacts, check=not known)
        with connected(self._address, self._store.local), terminable():  # again: Ray takes SIGTERM for itself
            resources = self._study.resources
            waiting = 0.0 if self._address is None else WAIT_SECONDS
            capacity = wait_for_room(resources.cpus, resources.gpus, say, seconds=waiting)
            if self._address is not None:
                check_nodes(self._store.folder, self._identity, resources.cpus, resources.gpus)
            ready = time.monotonic()
            say(f"ray is up with room for {capacity} trial{'s' * (capacity != 1)} at once ({clock(ready - began)})")
            teacher, sharing = prepare(self._study, self._id, self._ledger, self._store)
            check_warm_start(self._ledger, self._id)
            taught = time.monotonic()
            publisher = self._open_tracking(tracker)
            split = Execution(self._study, self._id, self._ledger, self._store, publisher, self._seeds).run(
                capacity, teacher, sharing
            )
            score_teacher(self._study, self._id, self._ledger, self._store)
        outcome = self._close(tracker)
        say(
            f"set-up {clock(ready - began)}, teacher {clock(taught - ready)}, search {clock(split['search'])}, "
            f"confirmation {clock(split['confirmation'])}, all {clock(time.monotonic() - began)}"
        )
        return outcome

    def _open_tracking(self, tracker: Tracker) -> Publisher:
        self._publisher = Publisher(tracker, self._ledger, self._id)
        self._publisher.catch_up()
        return self._publisher

    def _close(self, tracker: Tracker) -> Outcome:
        assert self._publisher is not None
        unpublished = self._publisher.close(PUBLISH_SECONDS)
        self._ledger.update_study(self._id, status="finished", message=None)
        write_page(self._ledger, self._id, self._store)
        shutil.rmtree(self._store.cache / self._id, ignore_errors=True)
        outcome = outcome_of(self._ledger, self._id, unpublished)
        if unpublished:  # the tracker may still be in use; `sync` delivers the rest
            return outcome
        try:
            publish_outcome(tracker, self._ledger, outcome, self._store)
            tracker.close()
        except StoreError as error:
            say(f"warning: {error}")
            return dataclasses.replace(outcome, unpublished=1)
        return outcome
