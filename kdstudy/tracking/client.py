"""Connect to MLflow, and translate its errors: the only module that knows its client's settings and exceptions.

MLflow is used through its client with explicit run ids. Its fluent interface keeps the active run and the
server in global state, which a driver with a background thread cannot share.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import sqlite3
import urllib.parse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kdstudy.errors import StoreError
from kdstudy.settings import foreign, scoped_environment
from kdstudy.tracking.local import check_database, database_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Whatever a user has set: nothing here needs it, and a model that needs it runs its author's code.
_NO_PICKLE = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
# What a user has set stays. Retries are ours (`Publisher`): MLflow's own would block for minutes.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # else a model takes the user's own pyproject.toml along
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is the command's result
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_OTHER_SCHEMA = re.compile(r"database schema \(found version (\w+), but expected (\w+)\)")
# Their errors reach the user as ours, in one line.
_LOGGERS = {"alembic": logging.ERROR, "mlflow": logging.ERROR, "mlflow.store": logging.CRITICAL}


class UnavailableError(StoreError):
    """The server cannot be reached or is in trouble: the same request may succeed later."""


class RejectedError(StoreError):
    """The server refuses the request: sending it again changes nothing."""


def redact(uri: str) -> str:
    """Return ``uri`` without user, password, query and fragment, any of which may be a secret."""
    parts = urllib.parse.urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    if not parts.netloc and parts.scheme.startswith("sqlite"):
        return uri.partition("?")[0]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def connect(uri: str, *, check: bool = True) -> MlflowClient:
    """Return a client; a local database is created if missing.

    Args:
        uri: ``sqlite:///PATH`` or ``http(s)://HOST[:PORT]``.
        check: Ask the server once whether it can be used.

    Raises:
        StoreError: Another kind of URI, an unusable database file, or a server that does not answer.
    """
    scheme = uri.partition(":")[0]
    if scheme not in {"sqlite", "http", "https"}:
        raise StoreError(
            f"tracking: cannot use '{redact(uri)}'; give sqlite:///PATH or the http(s) address of an MLflow server"
        )
    if scheme == "sqlite":
        _prepare_database(uri)
    with translated(uri):
        client = _client(uri)
        if check:
            client.search_experiments(max_results=1)
    return client


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn MLflow's and the network's errors into ours, one line each, without secrets."""
    import requests
    from mlflow.exceptions import MlflowException

    where = f"tracking: {redact(uri)}"
    try:
        with mlflow_environment():
            yield
    except MlflowException as error:
        if found := _OTHER_SCHEMA.search(str(error)):
            raise RejectedError(f"{where}: {_upgrade(uri, *found.groups())}") from error
        kind = UnavailableError if _may_pass(error) else RejectedError
        raise kind(f"{where}: {_one_line(error, uri)}; {_advice(kind, uri)}") from error
    except (requests.RequestException, OSError) as error:
        raise UnavailableError(f"{where}: {_one_line(error, uri)}; {_advice(UnavailableError, uri)}") from error
    except Exception as error:
        reason = getattr(error, "orig", None)  # what SQLAlchemy wraps: MLflow lets it through when it opens a database
        if not isinstance(reason, sqlite3.Error):
            raise
        raise UnavailableError(f"{where}: {_one_line(reason, uri)}; {_advice(UnavailableError, uri)}") from error


def _may_pass(error: Any) -> bool:
    """Return whether the same request may succeed later: trouble, not a refusal."""
    return bool(error.get_http_status_code() >= 500 or error.get_http_status_code() == 429)


def _upgrade(uri: str, found: str, expected: str) -> str:
    return (
        f"another version of MLflow made it (schema {found}, not {expected}); back it up, then run "
        f"`mlflow db upgrade {shlex.quote(redact(uri))}`, or install the MLflow that made it"
    )


def _advice(kind: type[StoreError], uri: str) -> str:
    if kind is UnavailableError and uri.startswith("sqlite:"):
        return "see that the disk has room and that the file can be written, or choose another --store"
    if kind is UnavailableError:
        return "check that the server runs and the address is right"
    return "check the address, the login and the run's state in MLflow"


def _one_line(error: Exception, uri: str) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    parts = urllib.parse.urlsplit(uri)
    for secret in (uri, parts.password, parts.username, parts.query):
        if secret:
            text = text.replace(secret, "***")
    return text if len(text) <= 200 else f"{text[:200]}..."


def _client(uri: str) -> MlflowClient:
    with mlflow_environment():
        with _quiet():
            from mlflow import MlflowClient
            from mlflow.tracking._tracking_service import utils
        # By a run's ID, whatever database it is in: of a store that was copied, the original's places.
        utils._artifact_repos_cache.clear()
        for name, level in _LOGGERS.items():
            logging.getLogger(name).setLevel(level)
        return MlflowClient(uri, uri)


@contextmanager
def mlflow_environment() -> Iterator[None]:
    """Hold the variables with which MLflow is used here.

    Every request is made inside; whoever has requests made in the background holds them all the while.
    """
    with scoped_environment(_SETTINGS), scoped_environment(_NO_PICKLE, override=True):
        yield


def pyfunc() -> ModuleType:
    """Return ``mlflow.pyfunc``."""
    with mlflow_environment(), _quiet():
        import mlflow.pyfunc as module
    return module


def log_system_metrics(uri: str, run_id: str) -> Any:
    """Log the use of this machine's CPUs, memory, disk, network and GPUs to a run, in the background.

    Only where ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`` is true, MLflow's own switch.

    Returns:
        MLflow's monitor, to be finished; None where it is off.
    """
    if (foreign("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING") or "").lower() not in ("true", "1"):
        return None
    from mlflow.system_metrics import system_metrics_monitor

    module: Any = system_metrics_monitor  # untyped
    monitor = module.SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what mlflow's own modules warn about while they are imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _prepare_database(uri: str) -> None:
    """Create the schema under a temporary name and publish it whole.

    MLflow migrates a new database step by step, and two drivers that open one at the same time break it.

    Raises:
        StoreError: The file or its folder cannot be used.
    """
    path = database_of(uri)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            check_database(path)
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.touch()  # MLflow would try for minutes to open what cannot be made
            with translated(uri):
                client = _client(f"sqlite:///{temporary.resolve().as_posix()}")
                client.search_experiments(max_results=1)
            close(client)
            with contextlib.suppress(FileExistsError):  # another driver was first: then theirs is used
                os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"tracking: {path} cannot be used ({reason}); choose another --store") from error


def close(client: MlflowClient) -> None:
    """Close the database connections of a local store; a later use opens new ones."""
    engine = getattr(client._tracking_client.store, "engine", None)
    if engine is not None:
        engine.dispose()
