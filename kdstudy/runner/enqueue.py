"""Note a user's own guess for a study that nobody drives now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdstudy.errors import RecordError
from kdstudy.ledger import Guess, LeaseOwner, Ledger
from kdstudy.search import place_guess


def enqueue(ledger: Ledger, study_id: str, values: Mapping[str, Any]) -> list[Guess]:
    """Have the next trial of every arm that searches some values run with them, in each search.

    Args:
        ledger: The record.
        study_id: The study.
        values: By path, or by the end of one.

    Returns:
        What was noted.

    Raises:
        RecordError: It is finished.
        StoreError: A driver runs it.
        StudyError: No arm searches these values, one lies outside its range, or no trial is left.
    """
    owner = LeaseOwner.here()
    ledger.acquire_lease(study_id, owner)
    try:
        record = ledger.study(study_id)
        if record.status == "finished":
            raise RecordError(
                f"study '{study_id}': is finished, and its budget spent; run a study with a larger one, whose trials "
                "can be enqueued while it is interrupted"
            )
        study = record.study()
        trials, known = ledger.trials(study_id, "search"), ledger.guesses(study_id)
        searches, _ = record.asked(study)
        found = place_guess(study, values, trials=trials, known=known, searches=searches)
        ledger.add_guesses(study_id, found)
    finally:
        ledger.release_lease(study_id, owner)
    return found
