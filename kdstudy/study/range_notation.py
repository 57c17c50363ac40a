"""How a study file writes a range, read back into the range; and what to say of what was meant as one."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from typing import Any

from kdstudy.study.diagnostics import show
from kdstudy.study.space import Choice, Int, Log, Range, RangeError, Uniform

KINDS: tuple[str, ...] = ("uniform", "log", "int", "choice")
OTHER_KINDS = {
    **dict.fromkeys(
        ("loguniform", "log_uniform", "log_uniform_values", "logspace", "reciprocal", "qloguniform"), "log"
    ),
    **dict.fromkeys(("range", "interval", "float", "real", "quniform", "linear", "suggest_float"), "uniform"),
    **dict.fromkeys(("randint", "integer", "int_uniform", "q_uniform", "lograndint", "suggest_int"), "int"),
    **dict.fromkeys(("values", "options", "categorical", "grid", "grid_search", "one_of", "list", "enum"), "choice"),
}
"""What other programs call a kind of range, in lower case, to ours."""
_CALL = re.compile(r"\s*([A-Za-z_.]+)\s*\(.*\)\s*")


def is_range(value: Any) -> bool:
    """Say whether ``value`` is written as a range: a mapping whose one key is the kind of a range."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in KINDS


def range_meant(value: Any) -> str | None:
    """Return what to say of a value that no key takes, if it looks like a range: how to write one.

    Args:
        value: A mapping, a list or a call such as ``loguniform(0.01, 0.3)``; of anything else nothing is said.
    """
    called = _CALL.fullmatch(value) if isinstance(value, str) else None
    if not (called or (isinstance(value, dict | list) and value)):
        return None
    if isinstance(value, list):
        return f"a list is no range, got {show(value)}; write {_written(None, value)}"
    name = called[1] if called else str(next(iter(value)))
    ends = next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else None
    plain = name.lower().rpartition(".")[2]
    near = difflib.get_close_matches(plain, KINDS, n=1) if ends else ()
    kind = OTHER_KINDS.get(plain) or next(iter(near), None)
    return f"no range is written so, got {show(value)}; write {_written(kind, ends)}"


def _written(kind: str | None, ends: Any) -> str:
    """Return how a range is written: of this kind, or of each, with these ends if they can be."""
    pair = isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, int | float) for end in ends)
    low_high, listed = show(ends) if pair else "[low, high]", show(ends) if isinstance(ends, list) else "[a, b, c]"
    forms = {name: f"{{{name}: {listed if name == 'choice' else low_high}}}" for name in KINDS}
    if kind is not None:
        return f"{forms[kind]}; the kinds of ranges are {', '.join(KINDS)}"
    whole = pair and all(isinstance(end, int) for end in ends)
    fitting = {"uniform": pair, "log": pair, "int": whole, "choice": True}
    kinds = [forms[name] for name in KINDS if fitting[name] or not isinstance(ends, list)]
    return f"{', '.join(kinds[:-1])} or {kinds[-1]}" if len(kinds) > 1 else kinds[0]


def repetition(span: Choice, meant: Sequence[Any], *, zeros: bool) -> str | None:
    """Return what to say of a choice of which two options mean the same; None where each is another.

    Args:
        span: The choice, as written.
        meant: What each option becomes: 1 is 1.0 where numbers are real, a plug-in has its defaults.
        zeros: Whether 0.0 and -0.0 are the same; in records of earlier versions both may stand.
    """
    texts = [json.dumps(_positive(each) if zeros else each, sort_keys=True) for each in meant]
    for position, text in enumerate(texts):
        first = texts.index(text)
        if first < position:
            same = f"{show(span.options[first])} and {show(span.options[position])}"
            return f"a choice must not repeat an option, got {same}, which mean the same here; keep one of them"
    return None


def _positive(value: Any) -> Any:
    """Return a plain value with 0.0 in place of each -0.0, which compares equal."""
    if isinstance(value, list):
        return [_positive(item) for item in value]
    if isinstance(value, dict):
        return {key: _positive(item) for key, item in value.items()}
    return value + 0.0 if isinstance(value, float) else value


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
