"""Whose code may run: what study files, records and students may ask for.

A study file, a record or a ``student.json`` may come from a stranger, and ``package.module:Name`` in it means importing
that module. So a package is imported only where the user has allowed it: by ``--allow-plugin PACKAGE`` or in
``KDSTUDY_ALLOW_PLUGINS``. What is allowed holds for the whole process, and for those that run its studies' trials.

A module that is not installed is allowed by its place, ``--allow-plugin DIR/mynet.py`` (a package by its folder), or by
its name where it lies beside a study file that the user names. That module alone is then imported from there
(`kdstudy.plugins.places`). A record only tells where a module was: what it tells is printed, and never imported.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from kdstudy.errors import PluginError
from kdstudy.plugins.places import import_from
from kdstudy.settings import ALLOW_PLUGINS, Settings

_PACKAGE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_allowed: dict[str, Path | None] = {}
_told: dict[str, str] = {}


def allowed_plugins() -> dict[str, Path | None]:
    """Return the packages and modules that a file may name, each with its place; None where Python finds it.

    Raises:
        PluginError: The setting holds something that is no package.
    """
    return dict(_entry(ALLOW_PLUGINS, word) for word in Settings.read().allow_plugins) | _allowed


def allowed_words() -> tuple[str, ...]:
    """Return what ``--allow-plugin`` must be given in another folder for the same to be allowed.

    Raises:
        PluginError: As `allowed_plugins`.
    """
    return tuple(name if place is None else str(place) for name, place in allowed_plugins().items())


def allow_plugins(*packages: str) -> None:
    """Let files name classes and functions of ``packages``, in this process and in those that run its trials.

    Args:
        packages: ``package`` for everything in it, ``package.module`` for that module (and what is below it), or the
            path of a module's file or of a package's folder.

    Raises:
        PluginError: One of them is no package's name, or nothing is at the path.
    """
    found = dict(_entry("--allow-plugin", word) for word in packages)
    for word, place in zip(packages, found.values(), strict=False):
        if place is not None and not place.exists():
            raise PluginError(f"--allow-plugin: there is no module at {place}, got '{word}'; name its file or folder")
    _allowed.update(found)


def allow_beside(study_file: Path) -> None:
    """Take modules that were allowed by name from the folder of a study file, unless Python finds them elsewhere."""
    folder = _normal(study_file).parent
    for name, place in allowed_plugins().items():
        beside = next((path for path in (folder / f"{name}.py", folder / name) if path.exists()), None)
        if place is None and beside is not None and _is_there(name, beside):
            _allowed[name] = beside


def unfound_plugins(study_file: Path | None) -> tuple[str, ...]:
    """Return what `allow_plugins` was given by name and nothing is called: neither for Python nor beside a study file.

    Args:
        study_file: The one that is used; None where none is.
    """
    folders = [] if study_file is None else [_normal(study_file).parent]
    tops = {name: name.partition(".")[0] for name, place in _allowed.items() if place is None}
    beside = {
        top for top in tops.values() for each in folders if any((each / at).exists() for at in (f"{top}.py", top))
    }
    return tuple(name for name, top in tops.items() if top not in beside and not _is_importable(top))


def places_of(names: Iterable[str]) -> dict[str, str]:
    """Return, for plug-ins called ``package.module:Name``, where those lie that were allowed by their place."""
    places = allowed_plugins()
    tops = {name.partition(":")[0].partition(".")[0] for name in names if ":" in name}
    return {top: str(place) for top in sorted(tops) if (place := places.get(top)) is not None}


def tell_places(places: Mapping[str, object] | None) -> None:
    """Have messages about modules that are missing name where they were, as a record tells. Allows nothing."""
    _told.update({str(name): str(place) for name, place in (places or {}).items()})


def require_allowed(kind: str, name: str) -> None:
    """Refuse a plug-in outside kdstudy's registries unless its package was allowed. Imports nothing.

    Args:
        kind: Of plug-in, for the message.
        name: ``package.module:Name``.

    Raises:
        PluginError: It was not allowed.
    """
    module, allowed = name.partition(":")[0], allowed_plugins()
    package = module.partition(".")[0]
    if any(module == each or module.startswith(f"{each}.") for each in allowed):
        import_from(package, allowed.get(package))
        return
    word = place_told(package) or package
    raise PluginError(
        f"{kind}: '{name}' is code outside kdstudy, which is not run unasked; if you trust the package, add "
        f"--allow-plugin {word} or set {ALLOW_PLUGINS}={word} (in Python, kdstudy.allow_plugins)"
    )


def place_told(package: str) -> str | None:
    """Return where a record says that a module was, as a shell takes it; None where none does."""
    place = _told.get(package)
    return None if place is None else shlex.quote(place)


def _entry(where: str, word: str) -> tuple[str, Path | None]:
    """Return the module that a word allows, and its place if it names one."""
    path = Path(word) if "/" in word or word.endswith(".py") else None
    name = word if path is None else _normal(path).name.removesuffix(".py")
    if not _PACKAGE.fullmatch(name):
        raise PluginError(
            f"{where}: not the name of a package, got '{word}'; write for example my_package, or DIR/my_module.py"
        )
    return name, None if path is None else _normal(path)


def _normal(path: Path) -> Path:
    """Return an absolute path without ``..``, symbolic links as they are."""
    return Path(os.path.normpath(path.absolute()))


def _is_importable(name: str) -> bool:
    """Say whether Python finds a module of that name, which is not imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # it is there, but no file
        return True


def _is_there(name: str, place: Path) -> bool:
    """Say whether Python finds no module of that name, or this one."""
    try:
        found = importlib.util.find_spec(name)
    except ValueError:  # somebody has put something into sys.modules that is no module
        return False
    return found is None or found.origin in (str(place), str(place / "__init__.py"))


def allowing(names: Iterable[str], places: Mapping[str, object] | None = None) -> str:
    """Return what a command must be told to run the plug-ins of these names, with a space before; empty without any.

    Args:
        names: Registered names, which need no permission, and ``package.module:Name``.
        places: Where a record says that those lie which Python does not find, by package.
    """
    packages = dict.fromkeys(name.partition(":")[0].partition(".")[0] for name in names if ":" in name)
    words = [str((places or {}).get(package, package)) for package in packages]
    return "".join(f" --allow-plugin {shlex.quote(word)}" for word in words)
