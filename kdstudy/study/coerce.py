"""Checks one plain value against its annotation with pydantic, for fields of the study file and plug-in options."""

from __future__ import annotations

import functools
import json
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import PydanticSerializationError

from kdstudy.study.diagnostics import show


@functools.cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))


def check(annotation: Any, value: Any) -> tuple[Any, list[str]]:
    """Check a plain value against a type and its bounds.

    Strictly, and as JSON: a whole number may stand for a real one, a list for a tuple; nothing else is
    converted.

    Returns:
        The value in plain form, and one message a problem: ``must be greater than 0, got -1``.
    """
    try:
        checked = _adapter(annotation).validate_json(json.dumps(value))
    except ValidationError as error:
        # A union reports each of its members; the one that got farthest into the value says most.
        deepest = max(len(detail["loc"]) for detail in error.errors())
        found = [detail for detail in error.errors() if len(detail["loc"]) == deepest]
        messages = " or ".join(dict.fromkeys(_message(detail["msg"]) for detail in found))
        return None, [f"{messages}, got {'nothing' if value is None else show(value)}"]
    return to_plain(annotation, checked), []


def to_plain(annotation: Any, value: Any) -> Any:
    """Return a value of type ``annotation`` in plain form: what JSON and YAML can hold."""
    return _adapter(annotation).dump_python(value, mode="json")


def is_plain(annotation: Any, value: Any) -> bool:
    """Say whether a value of type ``annotation`` has a plain form: no class, module or function has."""
    try:
        to_plain(annotation, value)
    except (PydanticSchemaGenerationError, PydanticSerializationError):
        return False
    return True


_KINDS = {
    "be a valid integer": "be a whole number",
    "be a valid number": "be a number",
    "be a valid boolean": "be true or false",
    "be a valid string": "be text",
    "be a valid array": "be a list",
    "be an object": "be a mapping",
}
"""How pydantic calls the kinds of values, and what they are called here."""


def _message(text: str) -> str:
    if text == "Field required":  # a tuple of fixed length that ended too early
        return "must have more items"
    for ending, words in _KINDS.items():
        text = text.removesuffix(ending) + words if text.endswith(ending) else text
    for start in ("Input should ", "String should ", "Value should ", "List should ", "Tuple should "):
        text = text.replace(start, "must ", 1) if text.startswith(start) else text
    return text[0].lower() + text[1:]


def accepts(annotation: Any, value: Any) -> bool:
    """Say whether a plain value is of this type and within its bounds."""
    return not check(annotation, value)[1]


def takes_mapping(annotation: Any) -> bool:
    """Say whether a mapping is a value of this type, so that ``{int: ...}`` may be one and not a range."""
    return accepts(annotation, {"int": "int"})


def takes_list(annotation: Any) -> bool:
    """Say whether a list is a value of this type, so that one with something wrong in it is no range that was meant."""
    return accepts(annotation, [])
