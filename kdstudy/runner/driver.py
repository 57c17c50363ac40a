"""Drive a study from its file, or from wherever it was left, to its end.

The driver alone writes the ledger. It holds the study's lease while it works, so that two drivers never do the same,
and it may be killed at any moment: what the ledger says then is what `resume_study` goes on from.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from kdstudy.cluster import Cluster, RayCluster, check_address
from kdstudy.errors import StoreError, StudyError
from kdstudy.ledger import LeaseOwner, Ledger, StudyRecord, keep_lease
from kdstudy.plugins import tell_places
from kdstudy.runner.checks import require_runnable
from kdstudy.runner.drive import Drive
from kdstudy.runner.known import tell_finished, tell_of_twin
from kdstudy.runner.mended import remember_file, require_same_code, require_unchanged
from kdstudy.runner.observers import Observer
from kdstudy.runner.open_study import OpenStudy, new_record
from kdstudy.runner.outcome import StudyResult, deliver, result_of
from kdstudy.runner.signals import interrupt_study, terminable
from kdstudy.search import check_numbers, choose_warm_start, warm_start_lines
from kdstudy.storage import Store, require_download_inside
from kdstudy.study import Study, require_plugins
from kdstudy.tracking import Tracker

log = logging.getLogger(__name__)


def run_study(  # noqa: PLR0913 - all that can be said of a new study
    study: Study,
    store: Store,
    *,
    address: str | None = None,
    warm_start: str | None = None,
    cluster: Cluster | None = None,
    file: Path | None = None,
    workplace: Path | None = None,
    observers: Sequence[Observer] = (),
) -> StudyResult:
    """Run a new study to its end.

    Args:
        study: A valid study; every call makes a new one in the ledger.
        store: Created if missing.
        address: Ray cluster; None starts one here.
        warm_start: An earlier study in the same ledger, from whose trials the samplers learn: ID, unique prefix, or
            ``latest``.
        cluster: Where its work is done; None: Ray.
        file: Where the study file is, for messages; whoever goes on with a failed study is told if it was mended.
        workplace: The working directory from here on, made if missing; None: as it is.
        observers: Told of every event, after the driver's own.

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
    require_runnable(study, study.name if file is None else str(file), address=address)
    store.create()
    # A mistyped address, or a database that cannot be used, is told before there is a study.
    tracker = Tracker(store.tracking_uri, store.artifacts)
    record = new_record(study)
    file = None if file is None else file.absolute()
    if workplace is not None:
        os.chdir(workplace)
    with Ledger.open(store.ledger_url, create=True) as ledger:
        tell_of_twin(record.text, ledger)
        owner = LeaseOwner.here()
        ledger.create_study(record, owner, warm)
        log.info(f"study {record.id}")
        if file is not None:
            remember_file(store.study(record.id), file)
        for line in () if warm is None else warm_start_lines(warm, study):
            log.info(line)
        opened = OpenStudy(study, record.id, ledger, store, study.confirm.seeds, study.confirm.searches)
        return Drive(opened, address, cluster or RayCluster(), observers=observers).run(owner, tracker)


def resume_study(
    reference: str,
    store: Store,
    *,
    address: str | None = None,
    cluster: Cluster | None = None,
    observers: Sequence[Observer] = (),
) -> StudyResult:
    """Go on with a study that was interrupted; of a finished one, deliver to MLflow what its driver could not.

    Args:
        reference: ID, unique prefix, or ``latest``.
        store: Where it was run.
        address: As for `run_study`.
        cluster: Likewise.
        observers: Likewise.

    Raises:
        RecordError: No such study.
        StoreError: Another driver holds it.
    """
    with Ledger.open(store.ledger_url) as ledger:
        record = ledger.study(ledger.resolve(reference))
        if record.status == "finished":
            tell_finished(record, ledger)
            return _conclude(record, ledger, store)
        if record.status == "failed":
            require_unchanged(record, store.study(record.id))
        opened = _reopen(record, ledger, store)
        return _continue(opened, address, cluster or RayCluster(), observers)


def confirm_study(  # noqa: PLR0913 - two ways to add, and where to do it
    reference: str,
    store: Store,
    *,
    searches: int = 0,
    seeds: int = 0,
    address: str | None = None,
    cluster: Cluster | None = None,
    observers: Sequence[Observer] = (),
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
        observers: Likewise.

    Raises:
        RecordError: No such study.
        StoreError: Another driver holds it.
        StudyError: Nothing is asked for.
    """
    if not searches and not seeds:
        raise StudyError(["confirm: says neither --searches nor --seeds; write for example --searches 4"])
    with Ledger.open(store.ledger_url) as ledger:
        record = ledger.study(ledger.resolve(reference))
        opened = _reopen(record, ledger, store, seeds=seeds, searches=searches)
        check_numbers(opened.study, searches=opened.searches, seeds=opened.seeds)
        return _continue(opened, address, cluster or RayCluster(), observers)


def _reopen(record: StudyRecord, ledger: Ledger, store: Store, *, seeds: int = 0, searches: int = 0) -> OpenStudy:
    """Return a study with so many seeds and searches more than it was asked for until now."""
    tell_places(record.environment.get("plugins"))
    require_plugins(study := record.study())
    require_same_code(record, (name for _, name in study.plugins()))
    known = record.asked(study)
    return OpenStudy(study, record.id, ledger, store, known[1] + seeds, known[0] + searches)


def _continue(opened: OpenStudy, address: str | None, cluster: Cluster, observers: Sequence[Observer]) -> StudyResult:
    check_address(address)
    prepared = opened.record.teacher.sha256 is not None
    require_runnable(opened.study, opened.id, address=address, prepared=prepared)
    if opened.study.data.download:
        require_download_inside(opened.id, opened.study.data.root, opened.store.local)
    before = opened.record.status
    owner = LeaseOwner.here()
    opened.ledger.acquire_lease(opened.id, owner)
    log.info(f"study {opened.id}")
    return Drive(opened, address, cluster, before, observers=observers).run(owner)


def _conclude(record: StudyRecord, ledger: Ledger, store: Store) -> StudyResult:
    """Return the result of a finished study, whose driver may have died before MLflow had it."""
    if record.tracking.complete:
        return result_of(ledger, record.id)
    owner = LeaseOwner.here()
    ledger.acquire_lease(record.id, owner)
    try:
        with terminable(), keep_lease(ledger, record.id, owner, interrupt_study):
            troubles = deliver(ledger, record.id, store)
    except StoreError as error:
        log.warning(str(error))
        return result_of(ledger, record.id, max(1, len(ledger.unpublished(record.id))))
    finally:
        with contextlib.suppress(StoreError):  # then the lease goes stale
            ledger.release_lease(record.id, owner)
    return result_of(ledger, record.id, len(troubles))
