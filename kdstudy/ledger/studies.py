"""Studies and their leases, as SQL. Every function works inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, inspect, select, update

from kdstudy.errors import RecordError, StoreError
from kdstudy.ledger import listing
from kdstudy.ledger.lease import Lease, LeaseOwner
from kdstudy.ledger.parts import DatasetInfo, RecordPart, TeacherInfo, TrackingRef
from kdstudy.ledger.records import StudyRecord, StudySummary, WarmStart
from kdstudy.ledger.tables import CHECKED_STUDIES, LEASES, METADATA, SEARCHES, STUDIES, TRIALS, WARM_STARTS
from kdstudy.ledger.validation import validate_record
from kdstudy.results import StudyStatus
from kdstudy.storage import folder_name

MOST_SEARCHES = 1_000_000
"""More than anybody asks for: a record that says so is damaged."""
_FIXED = ("id", "name", "seed", "created", "text", "checked")
CHANGEABLE = frozenset(field.name for field in fields(StudyRecord)) - frozenset(_FIXED)
_PARTS: dict[str, type[RecordPart]] = {"dataset": DatasetInfo, "teacher": TeacherInfo, "tracking": TrackingRef}
_COLUMNS = tuple(field.name for field in fields(StudyRecord) if field.name not in ("checked", "searches"))
_LEASE_COLUMNS = [LEASES.c[field.name].label(f"lease_{field.name}") for field in fields(LeaseOwner)] + [
    LEASES.c.since.label("lease_since"),
    LEASES.c.renewed.label("lease_renewed"),
]


def create(connection: Connection, study: StudyRecord, place: str) -> None:
    """Record a new study; repeating it changes nothing."""
    created = connection.scalar(select(STUDIES.c.created).where(STUDIES.c.id == study.id))
    if created is None:
        connection.execute(insert(STUDIES), _row({name: getattr(study, name) for name in _COLUMNS}))
        if study.checked is not None:
            CHECKED_STUDIES.create(connection, checkfirst=True)
            connection.execute(insert(CHECKED_STUDIES), {"study_id": study.id, "study": study.checked})
        _change_searches(connection, study.id, study.searches)
    elif created != study.created:
        raise RecordError(f"study '{study.id}': {place} has another one of that ID; take a new ID")


def add_warm_start(connection: Connection, study_id: str, warm: WarmStart) -> None:
    """Record what a new study learns from; repeating it changes nothing."""
    WARM_STARTS.create(connection, checkfirst=True)
    if read_warm_start(connection, study_id) is None:
        connection.execute(insert(WARM_STARTS), {"study_id": study_id, "source": warm.source, "trials": warm.trials})


def read_warm_start(connection: Connection, study_id: str) -> WarmStart | None:
    """Return what a study learnt from at its start; None for nothing."""
    if not inspect(connection).has_table(WARM_STARTS.name):
        return None
    query = select(WARM_STARTS.c.source, WARM_STARTS.c.trials).where(WARM_STARTS.c.study_id == study_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else validate_record(WarmStart, row._mapping, f"study '{study_id}': its warm start")


def read(connection: Connection, study_id: str) -> StudyRecord | None:
    """Return a study with the status a reader should see; None if there is none."""
    query = select(STUDIES, *_LEASE_COLUMNS).select_from(STUDIES.outerjoin(LEASES)).where(STUDIES.c.id == study_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    where = f"study '{row.id}'"
    parts = {name: kind.from_json(row._mapping[name], f"{where}: its {name}") for name, kind in _PARTS.items()}
    columns = {name: row._mapping[name] for name in _COLUMNS}
    values = {**columns, **parts, "checked": _read_checked(connection, study_id)}
    values["searches"] = _read_searches(connection, study_id)
    record = _safe(validate_record(StudyRecord, values, where))
    return replace(record, status=_status(record.status, row, clock(connection)))


def _read_checked(connection: Connection, study_id: str) -> Any:
    """Return what the study's file said, as it was checked; None for a study of an older ledger."""
    if not inspect(connection).has_table(CHECKED_STUDIES.name):
        return None
    return connection.scalar(select(CHECKED_STUDIES.c.study).where(CHECKED_STUDIES.c.study_id == study_id))


def _read_searches(connection: Connection, study_id: str) -> Any:
    """Return how many searches were asked for in all; None for those of the study's file."""
    if not inspect(connection).has_table(SEARCHES.name):
        return None
    found = connection.scalar(select(SEARCHES.c.searches).where(SEARCHES.c.study_id == study_id))
    if isinstance(found, int) and not 0 < found <= MOST_SEARCHES:  # readers count them one by one
        raise RecordError(f"study '{study_id}': the record is damaged (searches: {found}); restore a copy")
    return found


def _change_searches(connection: Connection, study_id: str, searches: int | None) -> None:
    if _read_searches(connection, study_id) == searches:
        return
    SEARCHES.create(connection, checkfirst=True)
    connection.execute(delete(SEARCHES).where(SEARCHES.c.study_id == study_id))
    if searches is not None:
        connection.execute(insert(SEARCHES), {"study_id": study_id, "searches": searches})


def _safe(record: StudyRecord) -> StudyRecord:
    """Refuse a record whose names would lead out of the store: folders are called after them."""
    folder_name("study: its ID", record.id)
    if record.teacher.key is not None:
        folder_name(f"study '{record.id}': its teacher's key", record.teacher.key)
    return record


def summaries(connection: Connection, ids: Sequence[str] | None = None) -> tuple[StudySummary, ...]:
    """Return a line for each study, or for some, the oldest first, by one query that reads no trial but an index."""
    # The same order as the index, so that both aggregates are read off it.
    best = func.max(TRIALS.c.val).filter(and_(TRIALS.c.phase == "search", TRIALS.c.state == "completed"))
    tallies = (
        select(TRIALS.c.study_id, func.count().label("trials"), best.label("best_val"))
        .group_by(TRIALS.c.study_id)
        .subquery()
    )
    query = (
        select(
            STUDIES.c.id,
            STUDIES.c.name,
            STUDIES.c.status,
            STUDIES.c.created,
            func.coalesce(tallies.c.trials, 0).label("trials"),
            tallies.c.best_val,
            *_LEASE_COLUMNS,
        )
        .select_from(
            STUDIES.outerjoin(tallies, tallies.c.study_id == STUDIES.c.id).outerjoin(
                LEASES, LEASES.c.study_id == STUDIES.c.id
            )
        )
        .order_by(STUDIES.c.created, STUDIES.c.id)
    )
    query = query if ids is None else query.where(STUDIES.c.id.in_(ids))
    now, listed = clock(connection), listing.read(connection)
    return tuple(
        validate_record(
            StudySummary,
            {
                "id": row.id,
                "name": row.name,
                "status": _status(row.status, row, now),
                "trials": row.trials,
                "created": row.created,
                "best_val": row.best_val,
                **listed.get(row.id, listing.Listed())._asdict(),
            },
            f"study '{row.id}'",
        )
        for row in connection.execute(query)
    )


def change(connection: Connection, study_id: str, values: Mapping[str, Any]) -> None:
    """Set fields of a study."""
    values = dict(values)
    if "searches" in values:
        _change_searches(connection, study_id, values.pop("searches"))
    if values and connection.execute(update(STUDIES).where(STUDIES.c.id == study_id), _row(values)).rowcount == 0:
        raise missing(study_id)


def require_unneeded(connection: Connection, study_id: str) -> None:
    """Refuse where another study learnt from this one at its start, and would again if it were resumed."""
    if not inspect(connection).has_table(WARM_STARTS.name):
        return
    found = connection.scalar(select(WARM_STARTS.c.study_id).where(WARM_STARTS.c.source == study_id))
    if found is not None:
        raise RecordError(f"study '{study_id}': {found} learns from it (--warm-start); delete that one first")


def delete_study(connection: Connection, study_id: str) -> None:
    """Remove all rows of a study, those that refer to others first."""
    require_unneeded(connection, study_id)
    for table in reversed(METADATA.sorted_tables):
        column = table.c.id if table is STUDIES else table.c.get("study_id")
        if column is not None and inspect(connection).has_table(table.name):
            connection.execute(delete(table).where(column == study_id))


def _row(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.to_json() if isinstance(value, RecordPart) else value for name, value in values.items()}


def missing(study_id: str) -> RecordError:
    """Return the error for a study that does not exist."""
    return RecordError(f"study '{study_id}': not found; see 'kdstudy list'")


def acquire_lease(connection: Connection, study_id: str, owner: LeaseOwner) -> None:
    """Take the lease of a study, unless another process that lives has it."""
    # Locks the study's row where the database locks rows, so that of two drivers one comes second.
    query = select(STUDIES.c.id).where(STUDIES.c.id == study_id).with_for_update()
    if connection.scalar(query) is None:
        raise missing(study_id)
    now = clock(connection)
    present = read_lease(connection, study_id)
    if present is not None and present.owner.token == owner.token:
        renew_lease(connection, study_id, owner)
        return
    if present is not None and not present.stale(now):
        raise StoreError(f"study '{study_id}': {present} is running it; wait until it ends, or stop it first")
    connection.execute(delete(LEASES).where(LEASES.c.study_id == study_id))
    row = {field.name: getattr(owner, field.name) for field in fields(owner)}
    connection.execute(insert(LEASES), {**row, "study_id": study_id, "since": now, "renewed": now})


def renew_lease(connection: Connection, study_id: str, owner: LeaseOwner) -> None:
    """Renew a lease."""
    query = update(LEASES).where(LEASES.c.study_id == study_id, LEASES.c.token == owner.token)
    if connection.execute(query, {"renewed": clock(connection)}).rowcount == 0:
        raise _lost(connection, study_id)


def guard(connection: Connection, study_id: str, owner: LeaseOwner) -> None:
    """Refuse if the owner has lost its lease; until the transaction ends no other process can take it."""
    query = select(LEASES.c.token).where(LEASES.c.study_id == study_id).with_for_update()
    if connection.scalar(query) != owner.token:
        raise _lost(connection, study_id)


def _lost(connection: Connection, study_id: str) -> StoreError:
    present = read_lease(connection, study_id)
    by = "no process runs it now" if present is None else f"{present} runs it now"
    return StoreError(f"study '{study_id}': this process has lost its lease, {by}; see 'kdstudy show {study_id}'")


def release_lease(connection: Connection, study_id: str, owner: LeaseOwner) -> None:
    """End a lease; nothing happens if another process has taken it over."""
    connection.execute(delete(LEASES).where(LEASES.c.study_id == study_id, LEASES.c.token == owner.token))


def read_lease(connection: Connection, study_id: str) -> Lease | None:
    """Return the lease of a study, stale or not."""
    row = connection.execute(select(*_LEASE_COLUMNS).where(LEASES.c.study_id == study_id)).one_or_none()
    return None if row is None else _lease(row)


def clock(connection: Connection) -> datetime:
    """Return the time by the clock that all drivers share: the server's, or with SQLite this machine's."""
    if connection.dialect.name == "postgresql":
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)
    return datetime.now(UTC)


def _status(stored: StudyStatus, row: Row[Any], now: datetime) -> StudyStatus:
    """Return what a reader should see: an unfinished study runs as long as somebody drives it, and no longer."""
    if stored == "finished":
        return stored
    if row._mapping["lease_token"] is not None and not _lease(row).stale(now):
        return "running"
    return "interrupted" if stored == "running" else stored


def _lease(row: Row[Any]) -> Lease:
    owner = LeaseOwner(**{field.name: row._mapping[f"lease_{field.name}"] for field in fields(LeaseOwner)})
    return Lease(owner, row._mapping["lease_since"], row._mapping["lease_renewed"])
