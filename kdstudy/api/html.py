"""The few pieces of HTML that a notebook shows; every text in them is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def paragraph(text: str, *, strong: bool = False) -> str:
    """Return a paragraph; nothing for an empty text."""
    inner = f"<b>{escape(text)}</b>" if strong else escape(text)
    return f"<p>{inner}</p>" if text else ""


def html_list(items: Iterable[str]) -> str:
    """Return a list; nothing without items."""
    lines = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{lines}</ul>" if lines else ""


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
