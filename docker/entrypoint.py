"""Entry point of the image: puts secrets that are given as files into the environment, then becomes the command.

``NAME_FILE=/run/secrets/x`` sets ``NAME`` to the file's content. So no secret stands in a container's configuration,
where whoever may inspect containers reads it, nor in the arguments of a process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "MLFLOW_TRACKING_PASSWORD",
    "PGPASSWORD",
    "RAY_REDIS_PASSWORD",
)
"""What may be given as ``NAME_FILE``: whatever a client library reads from its environment alone."""


def environment_with_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` with each secret's file replaced by its content.

    Raises:
        SystemExit: A file cannot be read, or is empty.
    """
    filled = dict(environment)
    for name in SECRETS:
        place = filled.pop(f"{name}_FILE", None)
        if place is None:
            continue
        try:
            filled[name] = Path(place).read_text(encoding="utf-8").strip()
        except OSError as error:
            sys.exit(f"entrypoint: {name}_FILE: {place} cannot be read ({error.strerror}); mount the secret there")
        if not filled[name]:
            sys.exit(f"entrypoint: {name}_FILE: {place} is empty; write the secret into it")
    return filled


def main(command: list[str]) -> None:
    """Become ``command``."""
    environment = environment_with_secrets(os.environ)
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606  the command of the container's owner
    except OSError as error:
        sys.exit(f"entrypoint: {command[0]} cannot be run ({error.strerror}); give the command of the container")


if __name__ == "__main__":
    main(sys.argv[1:] or ["kdstudy", "--help"])
