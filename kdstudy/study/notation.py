"""How to write a value that was written as another notation has it: YAML 1.1, Python, a spreadsheet."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from kdstudy.study.coerce import accepts
from kdstudy.study.diagnostics import show

WORDS = {**dict.fromkeys(("yes", "on", "y", "true"), True), **dict.fromkeys(("no", "off", "n", "false"), False)}
"""What YAML 1.1 and others take for true and false; text here."""
_THOUSANDS = re.compile(r"[-+]?[0-9]{1,3}(,[0-9]{3})+")
_NUMBER = re.compile(r"[-+]?[0-9_]*\.?[0-9_]+([eE][-+]?[0-9]+)?")


def rewritten(annotation: Any, value: Any) -> str | None:
    """Return what to write instead of a value that is not of this type, but means one; None if it means none.

    ``1e2`` is a real number and means the whole one 100; ``1_000``, ``"4"`` and ``0,1`` are text; so is ``yes``.

    Args:
        annotation: What was asked for.
        value: What was written, as plain values.
    """
    if isinstance(value, bool | int | float) and accepts(annotation, "text"):
        return "it in quotes"
    return next((show(meant) for meant in _readings(value) if accepts(annotation, meant)), None)


def _readings(value: Any) -> Iterator[Any]:
    """Yield what a value may mean."""
    if isinstance(value, list):
        yield [next(_readings(item), item) for item in value]
    elif isinstance(value, str):
        yield from _readings_of_text(value.strip())
    elif isinstance(value, float) and math.isfinite(value) and value == int(value):
        yield int(value)
    elif value in (0, 1) and isinstance(value, int) and not isinstance(value, bool):
        yield bool(value)


def _readings_of_text(text: str) -> Iterator[Any]:
    if text.lower() in WORDS:
        yield WORDS[text.lower()]
    plain = text.replace(",", "")
    for written in (plain, text) if _THOUSANDS.fullmatch(text) else (text, text.replace(",", ".", 1)):
        if _NUMBER.fullmatch(written):
            number = float(written.replace("_", ""))
            yield from _readings(number)
            yield number
