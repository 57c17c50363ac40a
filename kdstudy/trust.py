"""Whose code may run, and where a record may point: what study files, records and students may ask for.

A study file, a record or a ``student.json`` may come from a stranger, and ``package.module:Name`` in it means importing
that module. So a package is imported only where the user has allowed it: by ``--allow-plugin PACKAGE`` or in
``KDSTUDY_ALLOW_PLUGINS``. The setting is an environment variable, so that processes started from here know it too.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from kdstudy.errors import PluginError, RecordError

SETTING = "KDSTUDY_ALLOW_PLUGINS"
_PACKAGE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")


def allowed_plugins() -> tuple[str, ...]:
    """Return the packages and modules whose classes and functions a file may name.

    Raises:
        PluginError: The setting holds something that is no package.
    """
    names = tuple(filter(None, os.environ.get(SETTING, "").replace(",", " ").split()))
    for name in names:
        _require_package(SETTING, name)
    return names


def allow_plugins(*packages: str) -> None:
    """Let files name classes and functions of ``packages``, here and in processes started from here.

    Args:
        packages: ``package`` for everything in it, or ``package.module`` for that module (and what is below it).

    Raises:
        PluginError: One of them is no package's name.
    """
    for name in packages:
        _require_package("--allow-plugin", name)
    os.environ[SETTING] = ",".join(dict.fromkeys((*allowed_plugins(), *packages)))


def require_allowed(kind: str, name: str) -> None:
    """Refuse a plug-in outside kdstudy's registries unless its package was allowed. Imports nothing.

    Args:
        kind: Of plug-in, for the message.
        name: ``package.module:Name``.

    Raises:
        PluginError: It was not allowed.
    """
    module = name.partition(":")[0]
    if any(module == allowed or module.startswith(f"{allowed}.") for allowed in allowed_plugins()):
        return
    package = module.partition(".")[0]
    raise PluginError(
        f"{kind}: '{name}' is code outside kdstudy, which is not run unasked; if you trust the package, add "
        f"--allow-plugin {package} or set {SETTING}={package}"
    )


def folder_name(what: str, value: object) -> str:
    """Return ``value`` from a record, if it can only name a folder directly below another.

    Raises:
        RecordError: It could lead elsewhere: a path, a hidden folder, or no name at all.
    """
    if not isinstance(value, str) or not _FOLDER.fullmatch(value):
        raise RecordError(f"{what}: not a name of letters, digits, '.', '_' and '-', got {value!r}; restore the record")
    return value


def require_download_inside(where: str, root: str | None, store: Path) -> None:
    """Refuse to download where a record says, unless that is a place for data of whoever runs it now.

    What a study file says is its user's own wish; a record may be another's. It may name files to read, which are
    checked against the recorded fingerprint, but none to write.

    Args:
        where: The study's ID, for the message.
        root: The recorded ``data.root``; None for the user's own folder of data sets.
        store: The store in use.

    Raises:
        RecordError: It is neither in the working directory, nor in ``$KDSTUDY_DATA``, nor in the store.
    """
    if root is None:
        return
    places = [Path.cwd(), store, *map(Path, filter(None, [os.environ.get("KDSTUDY_DATA")]))]
    if not inside(Path(root).expanduser(), *places):
        raise RecordError(
            f"{where}: data.root: the record would download to {root}, outside the working directory, the store and "
            "$KDSTUDY_DATA; set KDSTUDY_DATA to that folder if you trust the record"
        )


def inside(path: Path, *roots: Path) -> bool:
    """Return whether ``path``, symbolic links resolved, is one of the ``roots`` or below one."""
    resolved = path.resolve()
    return any(resolved.is_relative_to(root.resolve()) for root in roots)


def _require_package(where: str, name: str) -> None:
    if not _PACKAGE.fullmatch(name):
        raise PluginError(f"{where}: not the name of a package, got '{name}'; write for example my_package")
