"""Validate rows read from the database: a damaged or forged one is refused before anything uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError

from kdstudy.errors import RecordError

T = TypeVar("T")
DAMAGE = (ValueError, TypeError, LookupError, RecursionError)
"""What reading raises where the database holds anything but what this program writes."""

_ADAPTERS: dict[type, dict[str, TypeAdapter[Any]]] = {}


def validate_record(kind: type[T], values: Mapping[Any, Any], where: str) -> T:
    """Return the record of ``kind`` with these values, each of its declared type.

    Args:
        kind: A frozen dataclass.
        values: By field.
        where: Whose record it is, for the message.

    Raises:
        RecordError: A field is of another type.
        TypeError: One is missing, or there is one too many.
    """
    record = kind(**values)
    _validate(kind, {**vars(record), **values}, where)
    return record


def validate_row(kind: type[T], values: Mapping[Any, Any], where: str) -> T:
    """Return a row whose columns are each of the type that ``kind`` declares.

    Args:
        kind: A TypedDict.
        values: By column.
        where: Whose row it is, for the message.

    Raises:
        RecordError: A column is of another type.
        LookupError: One is missing.
    """
    _validate(kind, values, where)
    return cast(T, values)


def damaged(where: str, what: str) -> RecordError:
    """Return the error for a record that is not as this program writes it."""
    return RecordError(f"{where}: the record is damaged ({what}); restore a copy")


def _validate(kind: type, values: Mapping[Any, Any], where: str) -> None:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = {name: TypeAdapter(hint) for name, hint in get_type_hints(kind).items()}
    for name, adapter in _ADAPTERS[kind].items():
        try:
            adapter.validate_python(values[name], strict=True)
        except ValidationError as error:
            raise damaged(where, f"{name}: {error.errors()[0]['msg'].lower()}") from error
