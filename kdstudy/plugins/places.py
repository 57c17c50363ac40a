"""Imports single modules from a file or folder of their own.

The folder that they lie in is not put on Python's path: what else is in it can stand in for no library's module.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from typing_extensions import override

_places: dict[str, Path] = {}


class _Finder(MetaPathFinder):
    """Finds the modules that were given a place, and nothing else."""

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        place = _places.get(fullname)
        if place is None or not place.exists():
            return None
        if place.is_dir():
            return PathFinder.find_spec(fullname, [str(place.parent)], target)
        return spec_from_file_location(fullname, place)


_FINDER = _Finder()


def import_from(name: str, place: Path | None) -> None:
    """Have ``import name`` take a module from a place: its file, or a package's folder; None for wherever Python does.

    Args:
        name: Of a top-level module.
        place: Absolute.
    """
    if place is None:
        _places.pop(name, None)
        return
    _places[name] = place
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
