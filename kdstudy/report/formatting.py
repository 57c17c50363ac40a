"""Numbers as people read them."""

from __future__ import annotations

from typing import Any

NONE = "\N{EN DASH}"
"""Stands where there is no number."""
MINUS = "\N{MINUS SIGN}"


def brief(value: Any) -> str:
    """Return a searched value: numbers to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a score in percent without the sign; a dash where there is none."""
    return NONE if fraction is None else f"{100 * fraction:.{digits}f}"


def duration(seconds: float | None) -> str:
    """Return a duration: ``7.3 s``, ``3:07 min``, ``2:03:07 h``."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h" if hours else f"{minutes}:{rest:02d} min"
