"""A study file or code of its own that was changed since: the study stays what it was, the file is run anew."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from kdstudy.errors import RecordError
from kdstudy.ledger import StudyRecord
from kdstudy.plugins import source_changes
from kdstudy.storage import Folder

PLACE = "study-file"


def remember_file(folder: Folder, file: Path) -> None:
    """Note in a study's folder where its file is; a note that is out of date is as good as none.

    Raises:
        StoreError: It cannot be written.
    """
    folder.write(PLACE, str(file).encode())


def require_unchanged(record: StudyRecord, folder: Folder) -> None:
    """Refuse to go on with a study whose file was changed since.

    Args:
        record: The study.
        folder: Its folder in the store.

    Raises:
        RecordError: It was: the first line that differs, and what to do.
    """
    place = folder.read(PLACE)
    if place is None or not (file := Path(place.decode(errors="replace"))).is_file():
        return
    now = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    before = record.text.removeprefix("\ufeff").splitlines()
    changes = list(difflib.unified_diff(before, now, n=0, lineterm=""))[2:]
    if not changes:
        return
    told = ", ".join(f"{line[0]} '{line[1:].strip()}'" for line in changes if not line.startswith("@@"))
    raise RecordError(
        f"{record.id}: its file {file} was changed since ({told[:300]}), and a study stays what it was; "
        f"`kdstudy run {file}` runs it anew, with the teacher if one was trained; or put the file back and resume"
    )


def require_same_code(record: StudyRecord, names: Iterable[str]) -> None:
    """Refuse to go on with a study whose plug-ins' code was changed since, which would compare unlike trials.

    Args:
        record: The study.
        names: Of its plug-ins; those of the user's own have been imported.

    Raises:
        RecordError: It was: which files, and what to do.
    """
    changed = source_changes(record.environment.get("plugin_sources"), names, imported_only=True)
    if changed:
        raise RecordError(
            f"{record.id}: the code of its plug-ins was changed since it began ({', '.join(changed)}), and its trials "
            "must be comparable; put the code back, or run the study file anew"
        )
