"""Bring MLflow up to date with the ledger, for `kdstudy sync`: after trouble, or to rebuild a lost server."""

from __future__ import annotations

from kdstudy.errors import StoreError
from kdstudy.ledger import Ledger
from kdstudy.tracking.publisher import Publisher
from kdstudy.tracking.tracker import Tracker

SYNC_SECONDS = 600.0


def sync_study(ledger: Ledger, study_id: str, tracker: Tracker) -> None:
    """Publish whatever MLflow lacks of a study's trials; what it has is not sent twice.

    Args:
        ledger: The record.
        study_id: The study.
        tracker: Connected to the server; not closed.

    Raises:
        StoreError: The server cannot be used, or something is still missing after ten minutes.
    """
    publisher = Publisher(tracker, ledger, study_id, gather=0.0)
    publisher.catch_up(everything=True)
    pending = publisher.close(SYNC_SECONDS)
    if pending:
        trouble = publisher.trouble() or "no answer"
        raise StoreError(f"tracking: {pending} runs are not up to date ({trouble}); run sync again later")
