"""Numbers, durations and tables as text: one spelling for the terminal, the report and MLflow.

What the command line prints is ASCII, so that any terminal shows it; the report's page has a true minus and a dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

UNKNOWN = "-"
"""Stands on the terminal where there is no number."""
NONE = "\N{EN DASH}"
"""Stands in the report where there is no number."""
MINUS = "\N{MINUS SIGN}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"


def clock(seconds: float) -> str:
    """Return a duration to the second: ``42 s``, ``3:07``, ``2:03:07``."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def duration(seconds: float | None) -> str:
    """Return a duration with its unit: ``7.3 s``, ``3:07 min``, ``2:03:07 h``."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    text = clock(seconds)
    return f"{text} {'h' if text.count(':') == 2 else 'min'}"


def byte_count(size: int) -> str:
    """Return a number of bytes: ``1.23 GB``, ``45.6 MB``, ``7.89 kB``, ``12 bytes``."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size} bytes"


def brief(value: Any) -> str:
    """Return a value of a study file in words: real numbers to four digits, a plug-in with its options in brackets.

    Args:
        value: Plain, as the file writes it: a scalar, a list, or a mapping such as ``{resnet8: {shortcut: A}}``.
    """
    match value:
        case bool() | None:
            return {True: "true", False: "false", None: "null"}[value]
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return f"[{', '.join(map(brief, value))}]"
        case dict():
            return ", ".join(f"{key} {_inner(inner)}".rstrip() for key, inner in value.items()) or "{}"
        case _:
            return str(value)


def _inner(value: Any) -> str:
    return f"({brief(value)})" * bool(value) if isinstance(value, dict) else brief(value)


def reason_of(error: str | None) -> str:
    """Return why a trial failed: of a traceback the first line of its last exception; empty for one that did not."""
    lines = (error or "").strip().splitlines()
    stacks = [place for place, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    said = [line for line in lines[stacks[-1] + 1 :] if line[:1].strip()] if stacks else lines
    return next(iter(said), "")


def decimal(value: float | None, digits: int = 4) -> str:
    """Return a number with fixed decimals for a terminal."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a score in percent, without the sign, for the report."""
    return NONE if fraction is None else points(fraction, digits)


def points(fraction: float, digits: int) -> str:
    """Return a share of 1 in hundredths."""
    return f"{100 * fraction:.{digits}f}"


def signed_points(fraction: float, digits: int) -> str:
    """Return a difference of scores in percentage points, with its sign."""
    return f"{round(100 * fraction, digits) + 0.0:+.{digits}f}"  # adding 0 turns a rounded -0.0 into 0.0


def in_points(fraction: float) -> str:
    """Return a difference that a user names, in points: ``0.5 points``, ``1 point``."""
    size = f"{100 * fraction:g}"
    return f"{size} point{'' if size == '1' else 's'}"


def p_value(value: float) -> str:
    """Return a p value as papers print it."""
    if value < 0.001:
        return "< 0.001"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def count_of(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number and its noun, in the plural (``noun`` + s, unless given) but for one."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a plain text table: columns as wide as needed and two spaces apart, numbers to the right.

    Nothing is cut or wrapped, as rich does to fit the terminal: the output may be read by another program.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    right = [all(_is_number(row[column]) for row in rows) for column in range(len(header))]
    lines = []
    for line in (header, ["-" * width for width in widths], *rows):
        cells = zip(line, widths, right, strict=True)
        lines.append("  ".join(cell.rjust(width) if number else cell.ljust(width) for cell, width, number in cells))
    return "\n".join(line.rstrip() for line in lines)


def _is_number(text: str) -> bool:
    return text.strip("+-.%0123456789e ") in ("", "s")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; what is special in Markdown is the caller's to escape."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))
