"""Check that the MLflow server is reachable and asks strangers for a login; for `kdstudy doctor`."""

from __future__ import annotations

import ipaddress
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from kdstudy.errors import StoreError
from kdstudy.tracking.client import close, connect, redact
from kdstudy.tracking.local import check_database, database_of

_SECONDS = 10.0
_REQUEST = "/api/2.0/mlflow/experiments/search?max_results=1"


@dataclass(frozen=True)
class Access:
    """What was found out about a tracking server.

    Args:
        place: Its address, without credentials.
        login: Whether it asks for one, in words.
        clock: Seconds that its clock is ahead of ours; None where there is no other clock.
    """

    place: str
    login: str
    clock: float | None


def check_access(uri: str) -> Access:
    """Check the tracking server at ``uri``; a local database is not created.

    Raises:
        StoreError: It does not answer, refuses us, or lets anybody in from elsewhere.
    """
    place = redact(uri)
    if uri.startswith("sqlite:"):
        database = database_of(uri)
        if database.exists():
            check_database(database, write=True)
            close(connect(uri))
        return Access(place, "a database here; the file's permissions say who may read it", None)
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme in {"http", "https"}:
        status, clock = _probe(parts)
        if status == 200 and not _loopback(parts.hostname):
            raise StoreError(
                f"{place}: the server lets anybody read and write; start it with --app-name basic-auth, or keep it on "
                "loopback"
            )
        close(connect(uri))
        login = "it asks for a login, and takes ours" if status in {401, 403} else "no login: it is on loopback"
        return Access(place, login, clock)
    close(connect(uri))  # raises, naming the kinds there are
    raise AssertionError(uri)


def _probe(parts: urllib.parse.SplitResult) -> tuple[int, float | None]:
    """Ask without credentials; return the status and how far the server's clock is ahead, in seconds."""
    bare = urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    try:
        with urllib.request.urlopen(bare + _REQUEST, timeout=_SECONDS) as answer:  # noqa: S310  http(s) alone
            status, date = answer.status, answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        status, date = error.code, error.headers.get("Date")
        error.close()
    except OSError:  # connect() says why
        return 0, None
    return status, None if date is None else parsedate_to_datetime(date).timestamp() - time.time()


def _loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
