"""One driver's work on one study, once its lease is held: connect, prepare, run what is left, deliver the result."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import time
from collections.abc import Sequence

from kdstudy.cluster import Cluster
from kdstudy.errors import ClusterError, DataError, KdstudyError, PluginError, StoreError
from kdstudy.ledger import LeaseOwner, keep_lease
from kdstudy.results import StudyStatus, clock
from kdstudy.runner.execution import Execution
from kdstudy.runner.notify import notify
from kdstudy.runner.observers import Observer
from kdstudy.runner.open_study import OpenStudy
from kdstudy.runner.outcome import StudyResult, conclude, result_of
from kdstudy.runner.preparation import prepare, score_teacher
from kdstudy.runner.signals import interrupt_study, terminable
from kdstudy.runner.times import Times
from kdstudy.search import check_warm_start
from kdstudy.tracking import Publisher, Tracker, mlflow_environment

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 60.0
"""How long the end of a study waits for MLflow; what is not delivered then stays in the ledger."""
LEAVE_SECONDS = 5.0
"""The same where the study is left unfinished."""


def _left_as(error: BaseException) -> tuple[StudyStatus, str | None]:
    """Return the status of a study that an error ends, and what a reader should know about it."""
    match error:
        case ClusterError() | StoreError():  # what is amiss is not the study's fault
            return "interrupted", str(error)
        case KdstudyError():
            return "failed", str(error)
        case _:
            return "interrupted", None


def _what_next(error: BaseException, study_id: str) -> str:
    """Return what to do about a study that an error ended: only what can succeed."""
    match error:
        case ClusterError() | StoreError():
            pass
        case DataError() | PluginError():
            return (
                f"once data or plug-in are put right `kdstudy resume {study_id}` goes on; a study file that is mended "
                f"is run anew, and `kdstudy delete {study_id}` removes this study"
            )
        case KdstudyError():
            return (
                "mend the study file and run it anew: a teacher that was trained is used again; "
                f"`kdstudy delete {study_id}` removes this study"
            )
    return f"continue with `kdstudy resume {study_id}`"


class Drive:
    """One driver's work on one study.

    What was asked for is recorded when the work can begin: what fails before leaves the study as it was.

    Args:
        opened: The study, whose lease is held.
        address: Ray cluster; None starts one here.
        cluster: Where the work is done.
        before: The status of a study that is gone on with; None for a new one.
        observers: Told of every event, after the driver's own.
    """

    def __init__(
        self,
        opened: OpenStudy,
        address: str | None,
        cluster: Cluster,
        before: StudyStatus | None = None,
        *,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._open, self._address, self._cluster, self._before = opened, address, cluster, before
        self._observers = observers
        self._begun = before is None
        self._publisher: Publisher | None = None
        self._times = Times()

    def run(self, owner: LeaseOwner, tracker: Tracker | None = None) -> StudyResult:
        """Run to the end; whatever stops it is written down first.

        Args:
            owner: Of the lease, which is released.
            tracker: Of a new study; one that was in use may be away for a while.
        """
        opened = self._open
        try:
            with terminable(), keep_lease(opened.ledger, opened.id, owner, interrupt_study), mlflow_environment():
                return self._run(tracker)
        except BaseException as error:
            self._leave(error)
            raise
        finally:
            with contextlib.suppress(StoreError):  # then the lease goes stale
                opened.ledger.release_lease(opened.id, owner)
            notify(opened.ledger, opened.id)

    def _run(self, tracker: Tracker | None) -> StudyResult:
        self._times = Times()
        identity = self._claim_store()
        tracker = tracker or self._tracker()
        # Ray takes SIGTERM itself
        with self._cluster.connected(self._address, self._open.store.local, interrupt_study), terminable():
            capacity = self._wait_for_room(identity)
            teacher, sharing = prepare(self._open, self._cluster)
            check_warm_start(self._open.ledger, self._open.id)
            self._times.prepared = time.monotonic()
            self._begin()
            execution = Execution(
                self._open,
                self._cluster,
                self._publish(tracker),
                teacher=teacher,
                sharing=sharing,
                capacity=capacity,
                observers=self._observers,
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
        known = self._open.record.tracking.run_id is not None
        return Tracker(self._open.store.tracking_uri, self._open.store.artifacts, check=not known)

    def _wait_for_room(self, identity: str) -> int:
        """Return how many trials the cluster holds at once."""
        capacity = self._cluster.room(self._address, self._open.study.resources, self._open.store.folder, identity)
        self._times.connected = time.monotonic()
        seconds = self._times.connected - self._times.began
        log.info(f"ray is up with room for {capacity} trial{'s' * (capacity != 1)} at once ({clock(seconds)})")
        return capacity

    def _begin(self) -> None:
        """Record what a study that is gone on with is asked for in all, and that it runs."""
        if self._begun:
            return
        opened = self._open
        opened.ledger.requeue(opened.id)
        tracking = dataclasses.replace(opened.record.tracking, complete=None)
        asked = {"seeds": opened.seeds, "searches": opened.searches, "tracking": tracking}
        opened.ledger.update_study(opened.id, status="running", message=None, **asked)
        self._begun = True

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
        shutil.rmtree(store.cache / study_id, ignore_errors=True)
        # Where something is still to come the tracker may be in use; `sync` delivers the rest.
        troubles = conclude(ledger, study_id, store, None if unpublished else tracker)
        for trouble in troubles:
            trouble.tell()
        if not unpublished:
            tracker.close()
        return result_of(ledger, study_id, unpublished or len(troubles))

    def _leave(self, error: BaseException) -> None:
        """Write down that an unfinished study is interrupted or failed, and requeue its running trials.

        Where not even that can be written, the record says the same once the lease is stale.
        """
        opened = self._open
        status, message = _left_as(error)
        opened.ledger.shorten_retries()
        with contextlib.suppress(StoreError):  # a lease that was lost: the study is another driver's now
            if not self._begun:
                self._leave_as_it_was(message)
                return
            if opened.record.status == "finished":
                return
            opened.ledger.requeue(opened.id)
            opened.ledger.update_study(opened.id, status=status, message=message)
        if self._publisher is not None:
            self._publisher.close(LEAVE_SECONDS)
        log.info(f"study {opened.id} is {status}; {_what_next(error, opened.id)}")

    def _leave_as_it_was(self, message: str | None) -> None:
        """Leave a study of which nothing was begun; of one whose driver died, say that it is interrupted."""
        opened = self._open
        if self._before == "interrupted":
            opened.ledger.requeue(opened.id)
            opened.ledger.update_study(opened.id, status="interrupted", message=message or opened.record.message)
        log.info(f"study {opened.id} is {self._before}, as it was: nothing was begun, and nothing more is asked of it")
