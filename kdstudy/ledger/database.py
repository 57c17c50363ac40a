"""The database below the ledger: creates or finds its tables, and retries its transactions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, func, insert, inspect, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from kdstudy.errors import StoreError
from kdstudy.ledger import engine
from kdstudy.ledger.tables import METADATA, SCHEMA, SCHEMA_VERSION
from kdstudy.ledger.validation import DAMAGE
from kdstudy.storage import retry

T = TypeVar("T")

RETRY_SECONDS = 180.0
"""Seconds for which a transaction is tried again while the database is locked or away, as in a restart."""

SHUTDOWN_RETRY_SECONDS = 5.0
"""The same while the process shuts down."""

_CREATION_LOCK = 0x6B647374  # any constant: under it PostgreSQL lets one process at a time create the tables


class Database:
    """A database with the ledger's tables.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql+psycopg://...``.
        create: Whether to create what is missing. If not, a missing ledger reads as an empty one and refuses
            writes.
        patience: Seconds for which a transaction is tried again while the database is locked or away. At the
            opening a server that is away is an error at once.

    Raises:
        StoreError: The database cannot be used, or a newer kdstudy wrote it.
    """

    def __init__(self, url: str, *, create: bool, patience: float = RETRY_SECONDS) -> None:
        self._url = engine.parse(url)
        self.place = engine.place(self._url)
        self._file = Path(str(self._url.database)) if self._url.get_backend_name() == "sqlite" else None
        self._patience = patience
        self._opened = False
        found = self._find()
        if found is None and create:
            self._create()
            found = self._find()
        # An empty database in memory stands in for a missing ledger: the same queries find nothing there.
        self._missing = found is None
        self._engine = found or engine.sqlite_engine(None, create=False)
        self._writer = self._engine.execution_options(kdstudy_write=True)
        self._opened = True

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return what ``work`` reads.

        Raises:
            StoreError: The database cannot be read, or holds what no kdstudy wrote.
        """

        def on_empty(connection: Connection) -> T:
            METADATA.create_all(connection)
            return work(connection)

        try:
            return self._retried(self._engine, on_empty if self._missing else work)
        except DAMAGE as error:
            said = " ".join(str(error).split())[:100] or type(error).__name__
            raise StoreError(f"ledger {self.place}: a record in it is damaged ({said}); restore a copy") from error

    def require(self) -> None:
        """See that there is a ledger.

        Raises:
            StoreError: There is none.
        """
        if self._missing:
            raise StoreError(
                f"ledger {self.place}: does not exist; name the --store of your studies, or start one with "
                "'kdstudy run STUDY.yaml'"
            )

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` as one transaction: all of it is kept, or nothing.

        It may run more than once, so it must touch nothing but the database, and bear to find its own work
        done: a connection may break after the commit and before the answer.

        Raises:
            StoreError: The database cannot be written.
        """
        self.require()
        return self._retried(self._writer, work)

    def shorten_retries(self) -> None:
        """Retry for at most `SHUTDOWN_RETRY_SECONDS`, a transaction that is being retried now included."""
        self._patience = min(self._patience, SHUTDOWN_RETRY_SECONDS)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _connect(self, *, create: bool) -> Engine:
        if self._file is None:
            return engine.postgresql_engine(self._url)
        return engine.sqlite_engine(self._file, create=create)

    def _create(self) -> None:
        """Create the tables, unless another process was faster."""

        def build(connection: Connection) -> None:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_CREATION_LOCK)))
            if _version(connection) is None:
                METADATA.create_all(connection)
                connection.execute(insert(SCHEMA), {"version": SCHEMA_VERSION})

        if self._file is not None:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"ledger {self.place}: its folder cannot be created, got '{error.strerror}' for "
                    f"{error.filename}; choose another --store or --ledger"
                ) from error
        creator = self._connect(create=True)
        try:
            self._retried(creator.execution_options(kdstudy_write=True), build)
        finally:
            creator.dispose()

    def _find(self) -> Engine | None:
        """Return the ledger that is there; None if there is none."""
        if self._file is not None and not self._file.exists():
            return None
        found = self._connect(create=False)
        try:
            version = self._retried(found, _version)
            if version is not None and version > SCHEMA_VERSION:
                raise StoreError(
                    f"ledger {self.place}: a newer kdstudy wrote it, got schema {version}, this one knows "
                    f"{SCHEMA_VERSION}; upgrade kdstudy"
                )
        except StoreError:
            found.dispose()
            raise
        if version is None:
            found.dispose()
        return None if version is None else found

    def _retried(self, database: Engine, work: Callable[[Connection], T]) -> T:
        """Run one transaction, again and again while the database is locked or, once opened, away."""

        def transaction() -> T:
            with database.begin() as connection:
                return work(connection)

        try:
            return retry(transaction, self._passing, seconds=lambda: self._patience, first=0.01, longest=1.0)
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise engine.explain(error, self._url) from error

    def _passing(self, error: Exception) -> bool:
        if not isinstance(error, DBAPIError) or isinstance(error, IntegrityError):
            return False
        return engine.locked(error) or (self._opened and engine.away(error))


def _version(connection: Connection) -> int | None:
    """Return the schema that is there; None if there is none."""
    if not inspect(connection).has_table(SCHEMA.name):
        return None
    version: int | None = connection.scalar(select(func.max(SCHEMA.c.version)))
    return version
