"""Trials and their epochs, as SQL. Every function works inside the caller's transaction.

A trial is queued, then running, perhaps queued again, and ends once: its first result is final, and after that only
the note of what MLflow has of it changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, insert, or_, select, update

from kdstudy.errors import RecordError
from kdstudy.ledger.records import utc_now
from kdstudy.ledger.tables import EPOCHS, TRIALS
from kdstudy.ledger.trial_record import Publication, TrialRecord
from kdstudy.ledger.validation import validate_record
from kdstudy.results import FINISHED_STATES, EpochRecord, LayerRecord, Phase, TrialResult, finite
from kdstudy.study import ArmId

_IDENTITY = ("phase", "transfer", "policy", "index", "data_seed", "init_seed", "values")


def add(connection: Connection, trials: Sequence[TrialRecord]) -> None:
    """Record new trials; repeating it changes nothing."""
    for trial in trials:
        present = connection.execute(select(TRIALS).where(_is(trial.study_id, trial.number))).one_or_none()
        row = trial.to_row()
        if present is None:
            connection.execute(insert(TRIALS), dict(row))
        elif _identity(present._asdict()) != _identity(row):
            raise RecordError(
                f"study '{trial.study_id}': trial {trial.number} exists already, with other "
                "values or seeds; check whether two drivers are running"
            )


def read(
    connection: Connection, study_id: str, phase: Phase | None = None, number: int | None = None
) -> tuple[TrialRecord, ...]:
    """Return the trials of a study, of a phase, or of a number, in order of their numbers."""
    query = select(TRIALS).where(TRIALS.c.study_id == study_id).order_by(TRIALS.c.number)
    if phase is not None:
        query = query.where(TRIALS.c.phase == phase)
    if number is not None:
        query = query.where(TRIALS.c.number == number)
    return tuple(TrialRecord.from_row(row._mapping) for row in connection.execute(query))


def read_arms(connection: Connection, study_id: str) -> tuple[ArmId, ...]:
    """Return the arms that have a trial, in order of their first."""
    query = (
        select(TRIALS.c.transfer, TRIALS.c.policy)
        .where(TRIALS.c.study_id == study_id)
        .group_by(TRIALS.c.transfer, TRIALS.c.policy)
        .order_by(func.min(TRIALS.c.number))
    )
    return tuple(ArmId(row.transfer, row.policy) for row in connection.execute(query))


def start(connection: Connection, study_id: str, number: int) -> bool:
    """Mark a trial as running; return whether it was not over already."""
    values = {"state": "running", "started": func.coalesce(TRIALS.c.started, utc_now())}
    return _change_unfinished(connection, study_id, number, values)


def requeue(connection: Connection, study_id: str, number: int | None) -> tuple[int, ...]:
    """Put one running trial, or all, back into the queue; return their numbers."""
    running = and_(TRIALS.c.study_id == study_id, TRIALS.c.state == "running")
    if number is not None:
        running = and_(running, TRIALS.c.number == number)
    numbers = tuple(connection.scalars(select(TRIALS.c.number).where(running).order_by(TRIALS.c.number)))
    connection.execute(update(TRIALS).where(running), {"state": "queued"})
    return numbers


def record_epoch(connection: Connection, study_id: str, number: int, record: EpochRecord) -> None:
    """Write an epoch, in place of an earlier writing; after the end, only fill a gap."""
    query = select(TRIALS.c.state, TRIALS.c.epochs).where(_is(study_id, number)).with_for_update()
    trial = connection.execute(query).one_or_none()
    if trial is None:
        raise missing(study_id, number)
    here = and_(EPOCHS.c.study_id == study_id, EPOCHS.c.number == number, EPOCHS.c.epoch == record.epoch)
    if trial.state in FINISHED_STATES:
        known = connection.scalar(select(EPOCHS.c.epoch).where(here)) is not None
        beyond = trial.state in ("completed", "stopped") and record.epoch > trial.epochs
        if known or beyond:
            return
    else:
        connection.execute(delete(EPOCHS).where(here))
        reached = max(trial.epochs, record.epoch)
        connection.execute(update(TRIALS).where(_is(study_id, number)), {"epochs": reached})
    connection.execute(
        insert(EPOCHS),
        {
            "study_id": study_id,
            "number": number,
            "epoch": record.epoch,
            "val": record.val,
            "record": record.to_json(),
        },
    )


def finish(connection: Connection, study_id: str, number: int, result: TrialResult) -> bool:
    """Record how a trial ended; return whether this was the first result."""
    # A worker that died may not know how far it had come, but a trial that ended well does.
    well = result.state in ("completed", "stopped")
    reached = case((TRIALS.c.epochs > result.epochs, TRIALS.c.epochs), else_=result.epochs)
    now = utc_now()
    first = _change_unfinished(
        connection,
        study_id,
        number,
        {
            "state": result.state,
            "epochs": result.epochs if well else reached,
            "val": result.val,
            "test": result.test,
            "weights_sha256": result.weights_sha256,
            "error": result.error,
            "numerics": result.numerics,
            "seconds": finite(result.seconds) or 0.0,
            "started": func.coalesce(TRIALS.c.started, now),
            "finished": now,
        },
    )
    if first and well:
        # Left by an earlier attempt that had come further than the one that counts.
        connection.execute(
            delete(EPOCHS).where(
                EPOCHS.c.study_id == study_id, EPOCHS.c.number == number, EPOCHS.c.epoch > result.epochs
            )
        )
    return first


def read_epochs(connection: Connection, study_id: str, number: int) -> tuple[EpochRecord, ...]:
    """Return a trial's epochs in order."""
    query = (
        select(EPOCHS.c.record).where(EPOCHS.c.study_id == study_id, EPOCHS.c.number == number).order_by(EPOCHS.c.epoch)
    )
    where = f"study '{study_id}': trial {number}: an epoch"
    return tuple(_epoch(record, where) for record in connection.scalars(query))


def _epoch(record: Mapping[str, Any], where: str) -> EpochRecord:
    layers = tuple(validate_record(LayerRecord, layer, where) for layer in record["layers"])
    return validate_record(EpochRecord, {**record, "layers": layers}, where)


def read_scores(connection: Connection, study_id: str) -> dict[int, dict[int, float]]:
    """Return the validation score after each epoch of each trial, where there is one."""
    query = (
        select(EPOCHS.c.number, EPOCHS.c.epoch, EPOCHS.c.val)
        .where(EPOCHS.c.study_id == study_id, EPOCHS.c.val.is_not(None))
        .order_by(EPOCHS.c.number, EPOCHS.c.epoch)
    )
    scores: dict[int, dict[int, float]] = {}
    for row in connection.execute(query):
        scores.setdefault(row.number, {})[row.epoch] = row.val
    return scores


def mark_published(connection: Connection, study_id: str, number: int, now: Publication) -> None:
    """Note what MLflow has of a trial."""
    values = {"run_id": now.run_id, "published": now.epochs, "published_state": now.state}
    if connection.execute(update(TRIALS).where(_is(study_id, number)), values).rowcount == 0:
        raise missing(study_id, number)


def unpublished(connection: Connection, study_id: str) -> tuple[int, ...]:
    """Return the numbers of the trials that MLflow lacks something of."""
    query = (
        select(TRIALS.c.number)
        .where(
            TRIALS.c.study_id == study_id,
            or_(
                TRIALS.c.published_state.is_(None),
                TRIALS.c.published_state != TRIALS.c.state,
                TRIALS.c.published < TRIALS.c.epochs,
            ),
        )
        .order_by(TRIALS.c.number)
    )
    return tuple(connection.scalars(query))


def missing(study_id: str, number: int) -> RecordError:
    """Return the error for a trial that does not exist."""
    return RecordError(f"study '{study_id}': it has no trial {number}; see 'kdstudy show {study_id}'")


def _change_unfinished(connection: Connection, study_id: str, number: int, values: Mapping[str, Any]) -> bool:
    open_trial = and_(_is(study_id, number), TRIALS.c.state.not_in(FINISHED_STATES))
    if connection.execute(update(TRIALS).where(open_trial).values(dict(values))).rowcount == 1:
        return True
    if connection.scalar(select(TRIALS.c.number).where(_is(study_id, number))) is None:
        raise missing(study_id, number)
    return False


def _is(study_id: str, number: int) -> ColumnElement[bool]:
    return and_(TRIALS.c.study_id == study_id, TRIALS.c.number == number)


def _identity(row: Mapping[str, Any]) -> str:
    """Return what makes a trial this one and no other, as text: the database turns tuples into lists."""
    return json.dumps([row[name] for name in _IDENTITY])
