"""Render a report as HTML, Markdown or JSON, and write it to a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from kdstudy.errors import StudyError
from kdstudy.ledger import Ledger
from kdstudy.report.markdown import to_markdown
from kdstudy.report.model import Report, report_of
from kdstudy.report.page import to_html
from kdstudy.storage import DiskFolder, Folder, Store

PAGE = "report.html"
"""The report's name in its study's folder."""


def _to_json(report: Report) -> str:
    return json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Report], str]] = {"html": to_html, "md": to_markdown, "json": _to_json}


def render(report: Report, form: str) -> str:
    """Return the report as one of `FORMATS`."""
    return FORMATS[form](report)


def write_report(ledger: Ledger, ids: Sequence[str], folder: Folder, name: str, form: str = "html") -> None:
    """Write a report to a file, whole or not at all.

    Args:
        ledger: Where the studies are.
        ids: IDs, unique prefixes or ``latest``; at least one.
        folder: Where to write it.
        name: Of the file; replaced if it exists.
        form: One of `FORMATS`.

    Raises:
        RecordError: A study does not exist.
        StoreError: The file cannot be written.
    """
    folder.write(name, render(report_of(ledger, ids), form).encode())


def form_of(target: Path | None) -> str:
    """Return the form that a file's name asks for; HTML where it says nothing.

    Raises:
        StudyError: A report does not come in that form.
    """
    suffix = "" if target is None else target.suffix.removeprefix(".").lower()
    if suffix and suffix not in FORMATS:
        known = ", ".join(f".{form}" for form in FORMATS)
        raise StudyError([f"a report ends in {known}, got '{target}'; name it so, or say --format"])
    return suffix or "html"


def write_report_at(
    ledger: Ledger, ids: Sequence[str], store: Store, target: Path | None = None, form: str | None = None
) -> str:
    """Write a report where a user wants it, and return where that is.

    Args:
        ledger: As for `write_report`.
        ids: Likewise.
        store: Holds the first study's folder, where the report goes if no file is named.
        target: The file; None for `PAGE` in that folder.
        form: One of `FORMATS`; None for what the file's suffix says.

    Raises:
        StudyError: A report does not come in that form.
        StoreError: It cannot be written.
    """
    form = form or form_of(target)
    if form not in FORMATS:
        raise StudyError([f"report: comes as {', '.join(FORMATS)}, got '{form}'; choose one"])
    folder: Folder = store.study(ids[0]) if target is None else DiskFolder(target.absolute().parent)
    name = PAGE.replace("html", form) if target is None else target.name
    write_report(ledger, ids, folder, name, form)
    return f"{folder}/{name}"
