"""Validate rows read from the database: a damaged or forged one is refused before anything uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

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
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = {name: TypeAdapter(hint) for name, hint in get_type_hints(kind).items()}
    record = kind(**values)
    for name, adapter in _ADAPTERS[kind].items():
        try:
            adapter.validate_python(values.get(name, getattr(record, name)), strict=True)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].lower()
            raise RecordError(f"{where}: the record is damaged ({name}: {reason}); restore a copy") from error
    return record
