"""Whose code may run: what study files, records and students may ask for.

A study file, a record or a ``student.json`` may come from a stranger, and ``package.module:Name`` in it means importing
that module. So a package is imported only where the user has allowed it: by ``--allow-plugin PACKAGE`` or in
``KDSTUDY_ALLOW_PLUGINS``. What is allowed holds for the whole process, and for those that run its studies' trials.
"""

from __future__ import annotations

import re

from kdstudy.errors import PluginError
from kdstudy.settings import ALLOW_PLUGINS, Settings

_PACKAGE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_allowed: tuple[str, ...] = ()


def allowed_plugins() -> tuple[str, ...]:
    """Return the packages and modules whose classes and functions a file may name.

    Raises:
        PluginError: The setting holds something that is no package.
    """
    names = Settings.read().allow_plugins
    for name in names:
        _require_package(ALLOW_PLUGINS, name)
    return tuple(dict.fromkeys((*names, *_allowed)))


def allow_plugins(*packages: str) -> None:
    """Let files name classes and functions of ``packages``, in this process and in those that run its trials.

    Args:
        packages: ``package`` for everything in it, or ``package.module`` for that module (and what is below it).

    Raises:
        PluginError: One of them is no package's name.
    """
    for name in packages:
        _require_package("--allow-plugin", name)
    global _allowed  # noqa: PLW0603 - the setting is the process's
    _allowed = tuple(dict.fromkeys((*_allowed, *packages)))


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
        f"--allow-plugin {package} or set {ALLOW_PLUGINS}={package}"
    )


def _require_package(where: str, name: str) -> None:
    if not _PACKAGE.fullmatch(name):
        raise PluginError(f"{where}: not the name of a package, got '{name}'; write for example my_package")
