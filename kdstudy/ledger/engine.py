"""SQLAlchemy engines for SQLite and PostgreSQL, and what their errors mean to a user."""

from __future__ import annotations

import json
import os
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from kdstudy.errors import StoreError

_FORMS = "write sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
_SQLITE_WAIT = 10.0  # seconds for which SQLite itself waits for a lock
_CONNECT_WAIT = 10  # seconds for which a silent PostgreSQL host is waited for

_REMEDIES = {
    sqlite3.SQLITE_NOTADB: "it is not a ledger, or is damaged: restore a copy, or choose another --ledger",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore a copy, or choose another --ledger",
    sqlite3.SQLITE_FULL: "free some space on the disk, then continue with 'kdstudy resume'",
    sqlite3.SQLITE_BUSY: "another process has locked it: end that one, or try again later",
}
_REMEDY_SQLITE = "check that the file and its folder are there and can be written"
_REMEDY_SERVER = "check that the server runs and that the URL is right"


def parse(url: str) -> URL:
    """Return the parsed URL of a ledger.

    Raises:
        StoreError: It names no SQLite file and no PostgreSQL database. The text is not repeated: it may hold
            a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(f"ledger: the URL cannot be read; {_FORMS}") from None
    backend = parsed.get_backend_name()
    if parsed.drivername == "postgresql":
        raise StoreError("ledger: the URL leaves the driver open, got 'postgresql'; write postgresql+psycopg://...")
    if backend not in ("sqlite", "postgresql"):
        raise StoreError(f"ledger: no such kind of database, got '{parsed.drivername}'; {_FORMS}")
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StoreError("ledger: a database in memory keeps no record; write sqlite:///PATH")
    return parsed


def place(url: URL) -> str:
    """Return where the ledger is, for people: a path, or a URL without password and options."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(query={}).render_as_string(hide_password=True)


def sqlite_engine(path: Path | None, *, create: bool) -> Engine:
    """Return an engine on a SQLite file.

    It holds no connection between transactions: opening one costs little, and nothing is left open behind a
    fork or a forgotten ledger.

    Args:
        path: The file; None for an empty database in memory, a new one in each transaction.
        create: Whether to create the file if it is missing, and to switch it to write-ahead logging, under
            which readers and the writer do not wait for each other.
    """
    target = ":memory:" if path is None else f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    if path is not None and _read_only(path):
        target += "&immutable=1"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            target, uri=True, timeout=_SQLITE_WAIT, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA foreign_keys=ON")
            if create:
                connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, **_options())

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes its lock at once: one that reads first would be refused, not queued, when another was
        # faster.
        writes = connection.get_execution_options().get("kdstudy_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def postgresql_engine(url: URL) -> Engine:
    """Return an engine on a PostgreSQL database.

    Raises:
        StoreError: The driver is unknown or not installed.
    """
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": str(_CONNECT_WAIT)})
    try:
        return create_engine(url, pool_pre_ping=True, pool_size=2, **_options())
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise StoreError(
            f"ledger {place(url)}: its driver cannot be loaded, got '{url.drivername}'; write "
            "postgresql+psycopg://... and pip install 'psycopg[binary]'"
        ) from error


def _options() -> dict[str, Any]:
    return {"json_serializer": partial(json.dumps, allow_nan=False), "hide_parameters": True}


def _read_only(path: Path) -> bool:
    """Return whether to open the file as immutable: beside one in WAL mode SQLite would create others."""
    return path.exists() and not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()


def locked(error: DBAPIError) -> bool:
    """Return whether another transaction was in the way."""
    if _code(error) is not None:
        return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return getattr(error.orig, "sqlstate", None) in ("40001", "40P01", "55P03")


def away(error: DBAPIError) -> bool:
    """Return whether a server is not there, or shuts down or starts up."""
    state = getattr(error.orig, "sqlstate", "")
    return error.connection_invalidated or state is None or state[:3] in ("57P", "080")


def explain(error: DBAPIError, url: URL) -> StoreError:
    """Return the error for the user: one line, without the password."""
    reason = " ".join(str(error.orig).split())
    if url.password:
        reason = reason.replace(str(url.password), "***")
    code = _code(error)
    remedy = _REMEDY_SERVER if code is None else _REMEDIES.get(code, _REMEDY_SQLITE)
    return StoreError(f"ledger {place(url)}: cannot be used, got '{reason}'; {remedy}")


def _code(error: DBAPIError) -> int | None:
    """Return SQLite's primary error code; None for another database."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
