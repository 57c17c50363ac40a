"""Values that a user wants tried, each at a place in a search. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

from sqlalchemy import Connection, insert, inspect, select

from kdstudy.errors import RecordError
from kdstudy.ledger.tables import GUESSES


@final
@dataclass(frozen=True)
class Guess:
    """Values that one trial of a search will have, whatever the sampler proposes there.

    Args:
        arm: ``transfer/policy``.
        search: Which of the study's searches, from 0.
        index: Of the trial within arm and search, from 0.
        values: By dotted path; what they leave open is proposed.
    """

    arm: str
    search: int
    index: int
    values: dict[str, Any]


def read(connection: Connection, study_id: str) -> tuple[Guess, ...]:
    """Return the guesses of a study in the order of their places."""
    if not inspect(connection).has_table(GUESSES.name):
        return ()
    table = GUESSES.c
    query = select(table.arm, table.search, table.index, table["values"]).where(table.study_id == study_id)
    rows = connection.execute(query.order_by(table.search, table.index, table.arm))
    found = tuple(Guess(*row) for row in rows)
    if any(not isinstance(guess.values, dict) for guess in found):
        raise RecordError(f"study '{study_id}': the record is damaged (its enqueued values); restore a copy")
    return found


def add(connection: Connection, study_id: str, new: Sequence[Guess]) -> None:
    """Write guesses at places that have none."""
    GUESSES.create(connection, checkfirst=True)
    connection.execute(insert(GUESSES), [{"study_id": study_id, **asdict(guess)} for guess in new])
