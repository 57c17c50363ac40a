"""How a study file writes a range, read back into the range."""

from __future__ import annotations

from typing import Any

from kdstudy.study.diagnostics import show
from kdstudy.study.space import Choice, Int, Log, Range, RangeError, Uniform

KINDS: tuple[str, ...] = ("uniform", "log", "int", "choice")


def is_range(value: Any) -> bool:
    """Say whether ``value`` is written as a range: a mapping whose one key is the kind of a range."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in KINDS


def read_range(value: dict[str, Any]) -> Range:
    """Build the range that a study file writes.

    Args:
        value: A mapping for which `is_range` holds.

    Raises:
        RangeError: What stands behind the kind does not make a range.
    """
    kind, argument = next(iter(value.items()))
    if kind == "choice":
        if not isinstance(argument, list):
            raise RangeError([f"a choice takes a list, got {show(argument)}; write {{choice: [first, second]}}"])
        return Choice(tuple(argument))
    if not isinstance(argument, list) or len(argument) != 2:
        raise RangeError([f"{kind} takes a list of two ends, got {show(argument)}; write {{{kind}: [low, high]}}"])
    if kind == "int":
        return Int(*argument)
    return Uniform(*argument) if kind == "uniform" else Log(*argument)
