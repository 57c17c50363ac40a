"""A report as text, and as a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from kdstudy.files import write_atomic
from kdstudy.ledger import Ledger
from kdstudy.report.content import Report, report_of
from kdstudy.report.markdown import to_markdown
from kdstudy.report.page import to_html


def _to_json(report: Report) -> str:
    return json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Report], str]] = {"html": to_html, "md": to_markdown, "json": _to_json}


def render(report: Report, form: str) -> str:
    """Return the report as one of `FORMATS`."""
    return FORMATS[form](report)


def write_report(ledger: Ledger, ids: Sequence[str], path: Path, form: str = "html") -> None:
    """Write a report to a file, whole or not at all.

    Args:
        ledger: Where the studies are.
        ids: IDs, unique prefixes or ``latest``; at least one.
        path: Replaced if it exists.
        form: One of `FORMATS`.

    Raises:
        RecordError: A study does not exist.
        StoreError: The file cannot be written.
    """
    write_atomic(path, render(report_of(ledger, ids), form).encode())
