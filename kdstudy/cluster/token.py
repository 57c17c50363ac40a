"""Ray's token authentication, set explicitly: Ray alone switches it on or off by what lies about."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def set_local_token(folder: Path) -> None:
    """Use a token of our own for an instance of our own; Ray alone would leave a world-readable one behind.

    Args:
        folder: Where it is kept (mode 0600).
    """
    if MODE in os.environ:
        return
    path = folder / "ray-token"
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        temporary.replace(path)
    os.environ[MODE] = "token"
    os.environ[TOKEN_PATH] = str(path)


def set_cluster_token() -> None:
    """Use the token that the user has for a cluster, if any: from the environment, or where Ray keeps it.

    A cluster that demands one then says so at once, and none is sent to a cluster that demands none.
    """
    if MODE in os.environ:
        return
    has_token = TOKEN in os.environ or TOKEN_PATH in os.environ or (Path.home() / ".ray" / "auth_token").exists()
    os.environ[MODE] = "token" if has_token else "disabled"
