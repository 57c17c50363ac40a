"""Where a record may point: names and paths from a stranger's record, checked before they are used."""

from __future__ import annotations

import re
from pathlib import Path

from kdstudy.errors import RecordError
from kdstudy.settings import Settings

_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")


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
    places = [Path.cwd(), store, *map(Path, filter(None, [Settings.read().data]))]
    if not inside(Path(root).expanduser(), *places):
        raise RecordError(
            f"{where}: data.root: the record would download to {root}, outside the working directory, the store and "
            "$KDSTUDY_DATA; set KDSTUDY_DATA to that folder if you trust the record"
        )


def inside(path: Path, *roots: Path) -> bool:
    """Return whether ``path``, symbolic links resolved, is one of the ``roots`` or below one."""
    resolved = path.resolve()
    return any(resolved.is_relative_to(root.resolve()) for root in roots)
