"""Render a report as HTML, Markdown or JSON, and write it to a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from kdstudy.ledger import Ledger
from kdstudy.report.markdown import to_markdown
from kdstudy.report.model import Report, report_of
from kdstudy.report.page import to_html
from kdstudy.storage import Folder

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
