"""How a trial ended, for records that come from no ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kdstudy.ledger import Ended
from kdstudy.results import EndedState, TrialResult

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def ended(
    state: EndedState = "completed",
    epochs: int = 0,
    *,
    started: datetime = START,
    finished: datetime = START,
    **result: Any,
) -> Ended:
    """Return the end of a trial; ``result`` is what else is known of how it ended."""
    return Ended(TrialResult(state, epochs, **result), started, finished)
