"""Builds the frozen sections of a study from validated dictionaries, for `load` and for trial configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from kdstudy.study.fields import fields_of

Built = TypeVar("Built")


def build(section: type[Built], parsed: Mapping[str, Any]) -> Built:
    """Return ``section`` made of checked values: nested sections built too, lists as tuples."""
    values = {}
    kind: type = section
    for name, declared in fields_of(kind).items():
        value = parsed[name]
        if declared.section:
            value = build(declared.section, value)
        elif isinstance(value, list):
            value = tuple(tuple(item) if isinstance(item, list) else item for item in value)
        values[name] = value
    return section(**values)
