"""Ray's token authentication, chosen explicitly: Ray alone would decide from whatever files and variables it finds."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from kdstudy.settings import foreign

_chosen: dict[str, str] = {}
"""Ray reads mode and token once a process: what was chosen first is for all later connections, too."""


def local_token(folder: Path) -> dict[str, str]:
    """Return the variables of an instance of our own, with a token of our own; Ray alone leaves a world-readable one.

    Args:
        folder: Where it is kept (mode 0600).
    """
    if foreign("RAY_AUTH_MODE") is not None:
        return {}
    if not _chosen:
        _chosen.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(_written(folder / "ray-token")))
    return dict(_chosen)


def cluster_token() -> dict[str, str]:
    """Return the variables for a cluster, with the user's token, if any: theirs, or where Ray keeps it.

    A cluster that demands one then says so at once, and none is sent to a cluster that demands none.
    """
    if foreign("RAY_AUTH_MODE") is not None:
        return {}
    if not _chosen:
        given = foreign("RAY_AUTH_TOKEN") is not None or foreign("RAY_AUTH_TOKEN_PATH") is not None
        has_token = given or (Path.home() / ".ray" / "auth_token").exists()
        _chosen.update(RAY_AUTH_MODE="token" if has_token else "disabled")
    return dict(_chosen)


def _written(path: Path) -> Path:
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        temporary.replace(path)
    return path
