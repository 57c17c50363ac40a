"""Remove a study: from MLflow first and from the record last, so that what fails on the way can be repeated."""

from __future__ import annotations

import shutil

from kdstudy.ledger import LeaseOwner, Ledger, keep_lease
from kdstudy.runner.signals import interrupt_study, terminable
from kdstudy.storage import Store
from kdstudy.tracking import Tracker


def delete_study(ledger: Ledger, study_id: str, store: Store) -> None:
    """Remove a study's runs in MLflow, its files and its record; teachers stay, which other studies may use.

    Args:
        ledger: The record.
        study_id: The study.
        store: Where its files are.

    Raises:
        StoreError: A driver runs it, or MLflow or the record cannot be written.
        RecordError: Another study learns from it.
    """
    owner = LeaseOwner.here()
    ledger.acquire_lease(study_id, owner)
    try:
        with terminable(), keep_lease(ledger, study_id, owner, interrupt_study):
            ledger.require_unneeded(study_id)
            study = ledger.study(study_id)
            if study.tracking.run_id is not None:
                tracker = Tracker(store.tracking_uri, store.artifacts)
                tracker.delete_study(study)
                tracker.close()
            store.study(study_id).clear()
            shutil.rmtree(store.cache / study_id, ignore_errors=True)
            ledger.delete_study(study_id)
    finally:
        ledger.release_lease(study_id, owner)
