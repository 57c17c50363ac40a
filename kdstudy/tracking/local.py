"""A local MLflow database as a file: made whole, seen to be one, and with its artifacts where the store is now.

MLflow keeps an absolute address with every experiment, run, model and version, and offers no way to change it. A store
may be copied and moved, so what is written there is put right when the database is opened: one statement for each
column, all in one transaction.
"""

from __future__ import annotations

import sqlite3
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from kdstudy.errors import StoreError

_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_OUTER = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
_WAIT = 60.0  # seconds for a lock


def database_of(uri: str) -> Path:
    """Return the file of a ``sqlite:///PATH`` address."""
    return Path(urllib.parse.unquote(uri.removeprefix("sqlite:///").partition("?")[0]))


def check_database(path: Path, *, write: bool = False) -> None:
    """Refuse a file that is no SQLite database.

    Args:
        path: The file.
        write: Also see that it can be written.

    Raises:
        StoreError: It cannot be read as one, or not be written.
    """
    with _opened(path) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if write:
            connection.execute("BEGIN IMMEDIATE")  # which alone is granted on a file that cannot be written
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("ROLLBACK")


def follow_store(database: Path, artifacts: Path) -> None:
    """Have a database of MLflow's schema keep its artifacts in the store in use, if they were in another place of it.

    What lies in the store follows the store. A database elsewhere may serve several stores: there only the artifacts
    of one that is gone, since it was moved, are looked for in this one.

    Args:
        database: Exists.
        artifacts: The folder of artifacts of the store in use, whether it exists or not.

    Raises:
        StoreError: They were elsewhere, and the database cannot be written.
    """
    artifacts = artifacts.resolve()
    inside = database.resolve().is_relative_to(artifacts.parent)
    with _opened(database) as connection:
        if not _elsewhere(connection, artifacts, every=inside):
            return
        connection.execute("BEGIN IMMEDIATE")
        for old in _elsewhere(connection, artifacts, every=inside):  # another driver may have been first
            for table, column in _ADDRESSES:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608  ours
                    (f"{artifacts.as_uri()}/", len(old) + 2, len(old) + 1, f"{old}/"),
                )
        connection.execute("COMMIT")


def _elsewhere(connection: sqlite3.Connection, artifacts: Path, *, every: bool) -> set[str]:
    """Return the folders of artifacts, as addresses, that are not this store's: of all others, or of those gone."""
    found = set()
    for name, address in connection.execute("SELECT name, artifact_location FROM experiments"):
        root = str(address).removesuffix(f"/{urllib.parse.quote(name)}")
        if root != address and root.endswith("/artifacts") and root.startswith(("file:", "/")):
            found.add(root)
    return {root for root in found - {artifacts.as_uri()} if every or not _path(root).parent.exists()}


def _path(address: str) -> Path:
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path))


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT, isolation_level=None)) as connection:
            yield connection
    except sqlite3.Error as error:
        advice = "move it away or choose another --store"
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OUTER:
            advice = "free the disk, let it be written, or copy the store and name that one"
        raise StoreError(f"tracking: {path} is not a usable database ({error}); {advice}") from error
