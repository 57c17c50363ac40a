"""Types of options in words: what a study file may write there."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from kdstudy.study import flow_text

_WORDS = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    type(None): "nothing",
    dict: "mapping",
    list: "list",
    tuple: "list",
    Any: "any value",
}
_BOUNDS = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}


def type_words(annotation: Any) -> str:
    """Return a type as a user reads it, bounds included: ``number from 0, or nothing``."""
    bounds = _bounds(annotation)
    base = annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation
    return " ".join([_kind(base), *bounds])


def _kind(base: Any) -> str:
    origin, arguments = get_origin(base), get_args(base)
    if origin in (Union, types.UnionType):
        return ", or ".join(type_words(one) for one in arguments)
    if origin is Literal:
        return " or ".join(flow_text(one) for one in arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping of {type_words(arguments[0])} to {type_words(arguments[1])}"
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return f"list of {len(arguments)}: {', '.join(map(type_words, arguments))}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"list, each a {type_words(arguments[0])}"
    return _WORDS.get(base, getattr(base, "__name__", str(base)))


def _bounds(annotation: Any) -> Iterator[str]:
    for mark in getattr(annotation, "__metadata__", ()):
        # a pydantic Field holds its bounds in a list of its own
        for bound in (mark, *getattr(mark, "metadata", ())):
            for field, word in _BOUNDS.items():
                value = getattr(bound, field, None)
                if value is not None:
                    yield f"{word} {flow_text(value)}"
