"""Every environment variable that kdstudy reads, in one place; and the one way in which it sets any: for a while."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, final

from kdstudy.errors import StoreError

ALLOW_PLUGINS = "KDSTUDY_ALLOW_PLUGINS"
NOTIFY = "KDSTUDY_NOTIFY"
GRACE_SECONDS = 20.0
"""How long after SIGTERM trials may take to reach a safe point: less than the 30 s that Kubernetes gives."""

Foreign = Literal[
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING",  # MLflow's own switch: whether runs show what the machine does
    "OMP_NUM_THREADS",  # torch's threads; `kdstudy doctor` shows it
    "RAY_AUTH_MODE",  # `token` or `disabled`: whether Ray's processes prove who they are
    "RAY_AUTH_TOKEN",  # the token itself
    "RAY_AUTH_TOKEN_PATH",  # the file it is in
    "RAY_TMPDIR",  # the folder of Ray's own files
    "TMPDIR",  # where they go without it
]
"""Variables of other programs that kdstudy looks at."""


@final
@dataclass(frozen=True)
class Settings:
    """What the environment says, as it is now: build it with `Settings.read`, where it is needed.

    An empty variable is as good as none. A node of a cluster has an environment of its own.

    Args:
        store: ``KDSTUDY_STORE``: the store without ``--store``, a folder or ``s3://`` location.
        ledger: ``KDSTUDY_LEDGER``: SQLAlchemy URL of the record without ``--ledger``.
        tracking_uri: ``MLFLOW_TRACKING_URI``: MLflow without ``--tracking-uri``.
        data: ``KDSTUDY_DATA``: the folder of data sets where a study file names none, and where records may download.
        cache: ``KDSTUDY_CACHE``: the folder of this machine's own copies.
        allow_plugins: ``KDSTUDY_ALLOW_PLUGINS``: packages whose code files and records may name, or where they lie,
            with commas or spaces between them.
        grace: ``KDSTUDY_GRACE``: seconds that trials have after SIGTERM, as it is written; see `grace_seconds`.
        notify: ``KDSTUDY_NOTIFY``: the shell's command line that is run when a driver leaves a study.
    """

    store: str | None
    ledger: str | None
    tracking_uri: str | None
    data: str | None
    cache: str | None
    allow_plugins: tuple[str, ...]
    grace: str | None
    notify: str | None

    @classmethod
    def read(cls) -> Settings:
        """Return what the environment of this process says."""
        return cls(
            store=os.environ.get("KDSTUDY_STORE") or None,
            ledger=os.environ.get("KDSTUDY_LEDGER") or None,
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or None,
            data=os.environ.get("KDSTUDY_DATA") or None,
            cache=os.environ.get("KDSTUDY_CACHE") or None,
            allow_plugins=_words(os.environ.get(ALLOW_PLUGINS, "")),
            grace=os.environ.get("KDSTUDY_GRACE"),
            notify=os.environ.get(NOTIFY) or None,
        )

    @property
    def grace_seconds(self) -> float:
        """Seconds that trials have after SIGTERM.

        Raises:
            StoreError: What is written is no number.
        """
        try:
            return GRACE_SECONDS if self.grace is None else float(self.grace)
        except ValueError as error:
            raise StoreError(
                f"KDSTUDY_GRACE: not a number of seconds, got '{self.grace}'; write one, or unset it"
            ) from error


def _words(text: str) -> tuple[str, ...]:
    """Return the words of a list, with commas or spaces between them; a word with either in it stands in quotes."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace += ","
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return tuple(lexer)
    except ValueError:  # a quote that is not closed: whoever looks at the words says so
        return tuple(text.replace(",", " ").split())


def foreign(name: Foreign) -> str | None:
    """Return another program's variable; None where it is not set."""
    return os.environ.get(name)


def child_environment(**values: str) -> dict[str, str]:
    """Return the environment of a process to be started: this one's, and what is given."""
    return {**os.environ, **values}


_lock = threading.Lock()
_before: dict[str, str | None] = {}
_scopes: dict[str, list[tuple[object, str]]] = {}


@contextmanager
def scoped_environment(values: Mapping[str, str], *, override: bool = False) -> Iterator[None]:
    """Set variables that a library, or a process that is started meanwhile, reads; afterwards all is as it was.

    Blocks may overlap, in threads too: a variable has the value of the block that was entered last, and its own once
    the last one is left.

    Args:
        values: By name.
        override: Whether what the user has set gives way.
    """
    scope = object()
    with _lock:
        for name, value in values.items():
            if name not in _scopes and (override or name not in os.environ):
                _before[name], _scopes[name] = os.environ.get(name), []
            if name in _scopes and (override or _before[name] is None):
                _scopes[name].append((scope, value))
                _set(name, value)
    try:
        yield
    finally:
        with _lock:
            for name in values:
                _leave(name, scope)


def _leave(name: str, scope: object) -> None:
    if name not in _scopes:
        return
    _scopes[name] = [each for each in _scopes[name] if each[0] is not scope]
    if _scopes[name]:
        _set(name, _scopes[name][-1][1])
        return
    del _scopes[name]
    before = _before.pop(name)
    if before is None:
        os.environ.pop(name, None)
    else:
        _set(name, before)


def _set(name: str, value: str) -> None:
    if os.environ.get(name) != value:  # C libraries may be reading: nothing is touched in vain
        os.environ[name] = value
