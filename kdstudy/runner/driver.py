"""Drive a study from its file, or from wherever it was left, to its end.

The driver alone writes the ledger. It holds the study's lease while it works, so that two drivers never do the same,
and it may be killed at any moment: what the ledger says then is what `resume_study` goes on from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import time

from kdstudy.cluster import Cluster, RayCluster, check_address
from kdstudy.errors import ClusterError, KdstudyError, StoreError
from kdstudy.ledger import LeaseOwner, Ledger, StudyRecord, keep_lease
from kdstudy.plugins import tell_places
from kdstudy.results import StudyStatus, clock
from kdstudy.runner.checks import require_runnable
from kdstudy.runner.execution import Execution
from kdstudy.runner.open_study import OpenStudy, new_record
from kdstudy.runner.outcome import StudyResult, deliver, publish_result, result_of, write_page
from kdstudy.runner.preparation import prepare, score_teacher
from kdstudy.runner.signals import interrupt_study, terminable
from kdstudy.runner.times import Times
from kdstudy.search import check_numbers, check_warm_start, choose_warm_start, warm_start_lines
from kdstudy.storage import Store, require_download_inside
from kdstudy.study import Study, require_plugins
from kdstudy.tracking import Publisher, Tracker, mlflow_environment

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 60.0
"""How long the end of a study waits for MLflow; what is not delivered then stays in the ledger."""
LEAVE_SECONDS = 5.0
"""The same where the study is left unfinished."""


def run_study(
    study: Study,
    store: Store,
    *,
    where: str | None = None,
    address: str | None = None,
    warm_start: str | None = None,
    cluster: Cluster | None = None,
) -> StudyResult:
    """Run a new study to its end.

    Args:
        study: A valid study; every call makes a new one in the ledger.
        store: Created if missing.
        where: What messages call the study: its file; None for its name.
        address: Ray cluster; None starts one here.
        warm_start: An earlier study in the same ledger, from whose trials the samplers learn: ID, unique prefix, or
            ``latest``.
        cluster: Where its work is done; None: Ray.

    Raises:
        KdstudyError: It cannot be run here, or the earlier study cannot serve it.
        KeyboardInterrupt: It was interrupted; the ledger says so.
    """
    check_address(address)
    check_numbers(study, searches=study.confirm.searches, seeds=study.confirm.seeds)
    warm = None
    if warm_start is not None:
        with Ledger.open(store.ledger_url) as ledger:
            warm = choose_warm_start(study, warm_start, ledger)
    require_runnable(study, where or study.name, address=address)
    store.create()
    record = new_record(study)
    with Ledger.open(store.ledger_url, create=True) as ledger:
        owner = LeaseOwner.here()
        ledger.create_study(record, owner, warm)
        log.info(f"study {record.id}")
        for line in () if warm is None else warm_start_lines(warm, study):
            log.info(line)
        opened = OpenStudy(study, record.id, ledger, store, study.confirm.seeds, study.confirm.searches)
        return _Drive(opened, address, cluster or RayCluster()).run(owner)


def resume_study(
    reference: str, store: Store, *, address: str | None = None, cluster: Cluster | None = None
) -> StudyResult:
    """Go on with a study that was interrupted; of a finished one, deliver to MLflow what its driver could not.

    Args:
        reference: ID, unique prefix, or ``latest``.
        store: Where it was run.
        address: As for `run_study`.
        cluster: Likewise.

    Raises:
        RecordError: No such study.
        StoreError: Another driver holds it.
    """
    with Ledger.open(store.ledger_url) as ledger:
        record = ledger.study(ledger.resolve(reference))
        if record.status == "finished":
            return _conclude(record, ledger, store)
        opened = _reopen(record, ledger, store)
        return _continue(opened, address, cluster or RayCluster())


def confirm_study(
    reference: str,
    store: Store,
    *,
    searches: int = 0,
    seeds: int = 0,
    address: str | None = None,
    cluster: Cluster | None = None,
) -> StudyResult:
    """Add whole searches to a study, or further fresh confirmation seeds to each of its searches.

    Searches up to the study's `confirm.at_most` count for its verdict; others, and all added seeds, are exploratory.

    Args:
        reference: As for `resume_study`.
        store: Where it was run.
        searches: How many more.
        seeds: How many more in each search.
        address: As for `run_study`.
        cluster: Likewise.

    Raises:
        RecordError: No such study.
        StoreError: Another driver holds it.
    """
    with Ledger.open(store.ledger_url) as ledger:
        record = ledger.study(ledger.resolve(reference))
        opened = _reopen(record, ledger, store, seeds=seeds, searches=searches)
        check_numbers(opened.study, searches=opened.searches, seeds=opened.seeds)
        return _continue(opened, address, cluster or RayCluster())


def _reopen(record: StudyRecord, ledger: Ledger, store: Store, *, seeds: int = 0, searches: int = 0) -> OpenStudy:
    """Return a study with so many seeds and searches more than it was asked for until now."""
    tell_places(record.environment.get("plugins"))
    require_plugins(study := record.study())
    known = record.asked(study)
    return OpenStudy(study, record.id, ledger, store, known[1] + seeds, known[0] + searches)


def _continue(opened: OpenStudy, address: str | None, cluster: Cluster) -> StudyResult:
    check_address(address)
    prepared = opened.record.teacher.sha256 is not None
    require_runnable(opened.study, opened.id, address=address, prepared=prepared)
    if opened.study.data.download:
        require_download_inside(opened.id, opened.study.data.root, opened.store.local)
    tracking = dataclasses.replace(opened.record.tracking, complete=None)
    owner = LeaseOwner.here()
    opened.ledger.acquire_lease(opened.id, owner)
    opened.ledger.requeue(opened.id)
    asked = {"seeds": opened.seeds, "searches": opened.searches, "tracking": tracking}
    opened.ledger.update_study(opened.id, status="running", message=None, **asked)
    log.info(f"study {opened.id}")
    return _Drive(opened, address, cluster).run(owner)


def _conclude(record: StudyRecord, ledger: Ledger, store: Store) -> StudyResult:
    """Return the result of a finished study, whose driver may have died before MLflow had it."""
    if record.tracking.complete:
        return result_of(ledger, record.id)
    owner = LeaseOwner.here()
    ledger.acquire_lease(record.id, owner)
    try:
        with terminable(), keep_lease(ledger, record.id, owner, interrupt_study):
            deliver(ledger, record.id, store)
    except StoreError as error:
        log.warning(str(error))
        return result_of(ledger, record.id, max(1, len(ledger.unpublished(record.id))))
    finally:
        with contextlib.suppress(StoreError):  # then the lease goes stale
            ledger.release_lease(record.id, owner)
    return result_of(ledger, record.id)


def _left_as(error: BaseException) -> tuple[StudyStatus, str | None]:
    """Return the status of a study that an error ends, and what a reader should know about it."""
    match error:
        case ClusterError() | StoreError():  # what is amiss is not the study's fault
            return "interrupted", str(error)
        case KdstudyError():
            return "failed", str(error)
        case _:
            return "interrupted", None


class _Drive:
    """One driver's work on one study."""

    def __init__(self, opened: OpenStudy, address: str | None, cluster: Cluster) -> None:
        self._open, self._address, self._cluster = opened, address, cluster
        self._publisher: Publisher | None = None
        self._times = Times()

    def run(self, owner: LeaseOwner) -> StudyResult:
        """Run to the end; whatever stops it is written down first."""
        opened = self._open
        try:
            with terminable(), keep_lease(opened.ledger, opened.id, owner, interrupt_study), mlflow_environment():
                return self._run()
        except BaseException as error:
            self._leave(*_left_as(error))
            raise
        finally:
            with contextlib.suppress(StoreError):  # then the lease goes stale
                opened.ledger.release_lease(opened.id, owner)

    def _run(self) -> StudyResult:
        self._times = Times()
        identity = self._claim_store()
        tracker = self._tracker()
        with self._cluster.connected(self._address, self._open.store.local), terminable():  # Ray takes SIGTERM itself
            capacity = self._wait_for_room(identity)
            teacher, sharing = prepare(self._open, self._cluster)
            check_warm_start(self._open.ledger, self._open.id)
            self._times.prepared = time.monotonic()
            execution = Execution(
                self._open,
                self._cluster,
                self._publish(tracker),
                teacher=teacher,
                sharing=sharing,
                capacity=capacity,
            )
            phases = execution.run()
            score_teacher(self._open, self._cluster)
        result = self._finish(tracker)
        log.info(self._times.summary(phases))
        return result

    def _claim_store(self) -> str:
        """Return the identity of the study's store, which a new study takes from where it is begun."""
        environment = self._open.record.environment
        identity = self._open.store.create(environment.get("store"))
        self._open.ledger.update_study(self._open.id, environment={**environment, "store": identity})
        return identity

    def _tracker(self) -> Tracker:
        # The address of a new study may be mistyped, so it is tried at once; one that was in use may be away a while.
        known = self._open.record.tracking.run_id is not None
        return Tracker(self._open.store.tracking_uri, self._open.store.artifacts, check=not known)

    def _wait_for_room(self, identity: str) -> int:
        """Return how many trials the cluster holds at once."""
        capacity = self._cluster.room(self._address, self._open.study.resources, self._open.store.folder, identity)
        self._times.connected = time.monotonic()
        seconds = self._times.connected - self._times.began
        log.info(f"ray is up with room for {capacity} trial{'s' * (capacity != 1)} at once ({clock(seconds)})")
        return capacity

    def _publish(self, tracker: Tracker) -> Publisher:
        self._publisher = Publisher(tracker, self._open.ledger, self._open.id)
        self._publisher.catch_up()
        return self._publisher

    def _finish(self, tracker: Tracker) -> StudyResult:
        """Have MLflow get the rest, mark the study finished, write its page, publish its result."""
        assert self._publisher is not None
        ledger, study_id, store = self._open.ledger, self._open.id, self._open.store
        unpublished = self._publisher.close(PUBLISH_SECONDS)
        ledger.update_study(study_id, status="finished", message=None)
        write_page(ledger, study_id, store)
        shutil.rmtree(store.cache / study_id, ignore_errors=True)
        result = result_of(ledger, study_id, unpublished)
        if unpublished:  # the tracker may still be in use; `sync` delivers the rest
            return result
        try:
            publish_result(tracker, ledger, result, store)
            tracker.close()
        except StoreError as error:
            log.warning(str(error))
            return dataclasses.replace(result, unpublished=1)
        return result

    def _leave(self, status: StudyStatus, message: str | None) -> None:
        """Mark an unfinished study interrupted or failed, and requeue its running trials.

        Where not even that can be written, the record says the same once the lease is stale.
        """
        opened = self._open
        opened.ledger.shorten_retries()
        with contextlib.suppress(StoreError):  # a lease that was lost: the study is another driver's now
            if opened.record.status == "finished":
                return
            opened.ledger.requeue(opened.id)
            opened.ledger.update_study(opened.id, status=status, message=message)
        if self._publisher is not None:
            self._publisher.close(LEAVE_SECONDS)
        log.info(f"study {opened.id} is {status}; continue with `kdstudy resume {opened.id}`")
