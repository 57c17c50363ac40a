"""Which study is meant. Every function works inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from kdstudy.errors import RecordError
from kdstudy.ledger import listing
from kdstudy.ledger.studies import summaries
from kdstudy.ledger.tables import STUDIES
from kdstudy.results import count_of
from kdstudy.storage import folder_name

MOST_TOLD = 5
"""IDs that a message names."""


def of_text(connection: Connection, text: str) -> tuple[str, ...]:
    """Return the IDs of the studies whose file had this text, the oldest first."""
    query = select(STUDIES.c.id).where(STUDIES.c.text == text).order_by(STUDIES.c.created, STUDIES.c.id)
    return tuple(connection.scalars(query))


def resolve(connection: Connection, reference: str, place: str) -> str:
    """Return the ID that an ID, a title, a prefix of an ID or ``latest`` (the newest that is not archived) means."""
    query = select(STUDIES.c.id).order_by(STUDIES.c.created, STUDIES.c.id)
    ids: list[str] = list(connection.scalars(query))
    if not ids:
        raise RecordError(f"study '{reference}': {place} holds no study; start one with 'kdstudy run'")
    known = listing.read(connection)
    if reference == "latest":
        shown = [study_id for study_id in ids if not known.get(study_id, listing.Listed()).archived]
        return folder_name("study: its ID", (shown or ids)[-1])
    titles = {listed.title: study_id for study_id, listed in known.items()}
    if reference in ids or reference in titles:
        return folder_name("study: its ID", reference if reference in ids else titles[reference])
    found = [study_id for study_id in ids if study_id.startswith(reference)]
    if not found:
        raise RecordError(f"study '{reference}': no ID in {place} starts with this; see 'kdstudy list'")
    if len(found) > 1:
        raise RecordError(_ambiguous(connection, reference, found))
    return folder_name("study: its ID", found[0])


def _ambiguous(connection: Connection, reference: str, found: Sequence[str]) -> str:
    """Return what a reference of several studies may mean: the newest of them, told apart."""
    shown = summaries(connection, found[-MOST_TOLD:])
    told = [
        f"{each.id} ({each.status}, {count_of(each.trials, 'trial')}, {each.created:%Y-%m-%d %H:%M} UTC)"
        for each in shown
    ]
    older = f"{len(found) - MOST_TOLD} older ones and " if len(found) > MOST_TOLD else ""
    return f"study '{reference}': {len(found)} IDs begin so: {older}{', '.join(told)}; write more of the ID"
