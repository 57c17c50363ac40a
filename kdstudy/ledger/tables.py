"""The ledger's tables. Portable SQL only: SQLite on a laptop, PostgreSQL for a team."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypedDict

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from kdstudy.results import Phase, State, finite

SCHEMA_VERSION = 1


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time: kept as UTC in SQLite, which has no zones, and as ``timestamptz`` in PostgreSQL."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware time into what the database keeps."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive datetime {value} cannot be stored: its zone is unknown")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn what the database keeps into an aware time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class AnyText(TypeDecorator[str]):
    """Text of any origin, such as a traceback: what UTF-8 or PostgreSQL cannot hold becomes an escape."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Escape lone surrogates and NUL."""
        if value is None:
            return None
        return value.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")


class Score(TypeDecorator[float]):
    """A double; NaN and infinity are stored as NULL."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        """Drop what is not finite."""
        return None if value is None else finite(value)


class Plain(TypeDecorator[Any]):
    """A mapping as JSON text, key order and number spelling kept; NaN and infinity are stored as null."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Drop what JSON cannot say."""
        return _plain(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Drop it as well where another program wrote it."""
        return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


METADATA = MetaData()

SCHEMA = Table("kdstudy_schema", METADATA, Column("version", Integer, primary_key=True, autoincrement=False))

STUDIES = Table(
    "kdstudy_studies",
    METADATA,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("status", String, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("text", AnyText, nullable=False),
    Column("environment", Plain, nullable=False),
    Column("dataset", Plain, nullable=False),
    Column("teacher", Plain, nullable=False),
    Column("lag", Integer),
    Column("seeds", Integer),
    Column("tracking", Plain, nullable=False),
    Column("message", AnyText),
)

TRIALS = Table(
    "kdstudy_trials",
    METADATA,
    Column("study_id", String, ForeignKey(STUDIES.c.id), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("phase", String, nullable=False),
    Column("transfer", String, nullable=False),
    Column("policy", String, nullable=False),
    Column("index", Integer, nullable=False),
    Column("data_seed", BigInteger, nullable=False),
    Column("init_seed", BigInteger, nullable=False),
    Column("values", Plain, nullable=False),
    Column("config", Plain, nullable=False),
    Column("state", String, nullable=False),
    Column("exploratory", Boolean, nullable=False),
    Column("val", Score),
    Column("test", Score),
    Column("epochs", Integer, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("started", UtcDateTime),
    Column("finished", UtcDateTime),
    Column("seconds", Score, nullable=False),
    Column("weights_sha256", String),
    Column("error", AnyText),
    Column("numerics", Plain, nullable=False),
    Column("run_id", String),
    Column("published", Integer, nullable=False),
    Column("published_state", String),
    # No proposal is ever made twice, whatever two drivers do.
    UniqueConstraint("study_id", "phase", "transfer", "policy", "index", name="kdstudy_one_trial_each"),
    # Holds all that a listing needs, so that it never reads the trials themselves.
    Index("kdstudy_trials_summary", "study_id", "phase", "state", "val"),
)


class TrialRow(TypedDict):
    """A row of `TRIALS`: the type that each column has in Python."""

    study_id: str
    number: int
    phase: Phase
    transfer: str
    policy: str
    index: int
    data_seed: int
    init_seed: int
    values: dict[str, Any]
    config: dict[str, Any]
    state: State
    exploratory: bool
    val: float | None
    test: float | None
    epochs: int
    created: datetime
    started: datetime | None
    finished: datetime | None
    seconds: float
    weights_sha256: str | None
    error: str | None
    numerics: dict[str, Any]
    run_id: str | None
    published: int
    published_state: State | None


EPOCHS = Table(
    "kdstudy_epochs",
    METADATA,
    Column("study_id", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("val", Score),
    Column("record", Plain, nullable=False),
    ForeignKeyConstraint(["study_id", "number"], [TRIALS.c.study_id, TRIALS.c.number]),
)

# Younger than the first ledgers: made when it is first needed, and read only where it is.
WARM_STARTS = Table(
    "kdstudy_warm_starts",
    METADATA,
    Column("study_id", String, ForeignKey(STUDIES.c.id), primary_key=True),
    Column("source", String, nullable=False),
    Column("trials", Plain, nullable=False),
)

# Younger likewise. A table of its own, since a column could not be added to ledgers that exist.
CHECKED_STUDIES = Table(
    "kdstudy_checked_studies",
    METADATA,
    Column("study_id", String, ForeignKey(STUDIES.c.id), primary_key=True),
    Column("study", Plain, nullable=False),
)

# Likewise: how many searches a study was asked for in all, where some were added after its own.
SEARCHES = Table(
    "kdstudy_searches",
    METADATA,
    Column("study_id", String, ForeignKey(STUDIES.c.id), primary_key=True),
    Column("searches", Integer, nullable=False),
)

# Likewise: values that a user wants tried, by the place of their trial.
GUESSES = Table(
    "kdstudy_guesses",
    METADATA,
    Column("study_id", String, ForeignKey(STUDIES.c.id), primary_key=True),
    Column("arm", String, primary_key=True),
    Column("search", Integer, primary_key=True, autoincrement=False),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("values", Plain, nullable=False),
)

# Likewise: what only concerns how a study is listed.
LISTING = Table(
    "kdstudy_listing",
    METADATA,
    Column("study_id", String, ForeignKey(STUDIES.c.id), primary_key=True),
    Column("title", AnyText),
    Column("archived", Boolean, nullable=False),
)

LEASES = Table(
    "kdstudy_holds",
    METADATA,
    Column("study_id", String, ForeignKey(STUDIES.c.id), primary_key=True),
    Column("token", String, nullable=False),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("machine", String, nullable=False),
    Column("started", String, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("renewed", UtcDateTime, nullable=False),
)
