"""How studies are listed: under which title, and whether at all. Every function works in the caller's transaction."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, insert, inspect, select

from kdstudy.errors import RecordError
from kdstudy.ledger.tables import LISTING, STUDIES

LONGEST = 80
"""Characters of a title."""


class Listed(NamedTuple):
    """How one study is listed.

    Attributes:
        title: What people call it; None for its ID.
        archived: Whether lists leave it out.
    """

    title: str | None = None
    archived: bool = False


def read(connection: Connection) -> dict[str, Listed]:
    """Return how studies are listed, by ID; nothing of those that are listed as they were made."""
    if not inspect(connection).has_table(LISTING.name):
        return {}
    columns = LISTING.c.study_id, LISTING.c.title, LISTING.c.archived
    return {row.study_id: Listed(row.title, bool(row.archived)) for row in connection.execute(select(*columns))}


def change(connection: Connection, study_id: str, **values: Any) -> None:
    """Set fields of how a study, which is there, is listed.

    Raises:
        RecordError: Its title is none, or means another study.
    """
    LISTING.create(connection, checkfirst=True)
    known = read(connection)
    new = known.get(study_id, Listed())._replace(**values)
    if new.title is not None:
        _check(new.title, connection, {listed.title: other for other, listed in known.items() if other != study_id})
    connection.execute(delete(LISTING).where(LISTING.c.study_id == study_id))
    connection.execute(insert(LISTING), {"study_id": study_id, **new._asdict()})


def _check(title: str, connection: Connection, taken: dict[str | None, str]) -> None:
    if title != title.strip() or not 0 < len(title) <= LONGEST or not title.isprintable() or title == "latest":
        raise RecordError(
            f"title: must be one line of 1 to {LONGEST} characters, not 'latest', got {title[: LONGEST + 1]!r}; choose "
            "another"
        )
    ids = list(connection.scalars(select(STUDIES.c.id)))
    owner = taken.get(title) or next((study_id for study_id in ids if study_id.startswith(title)), None)
    if owner is not None:
        raise RecordError(f"title: '{title}' means study '{owner}' already; choose another")
