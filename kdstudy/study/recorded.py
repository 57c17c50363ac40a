"""Sections of a study as JSON in a record, and back: checked like a study file's fields, but no plug-in is imported.

A record spells plug-ins and ranges in one of two forms. `NOTATION` is the study file's own,
``{name: {option: value}}``, for a trial, which holds no range. `TAGGED` says of every value what it is, so that a study
with ranges can be read without asking a plug-in which of its options take mappings.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from kdstudy.study.coerce import check
from kdstudy.study.diagnostics import Place, Problems, show
from kdstudy.study.fields import Field, Key, fields_of, hint
from kdstudy.study.plugin_spec import PluginSpec
from kdstudy.study.range_notation import KINDS
from kdstudy.study.space import Choice, Int, Log, Range, RangeError, Uniform
from kdstudy.study.validate import INVALID, Parsed

_RANGES = (*Range.__args__,)
_DAMAGE = (ValueError, TypeError, LookupError)


@dataclass(frozen=True)
class Form:
    """How a record spells what is more than a plain value.

    Args:
        plugin: Reads a plug-in, or the range of a key that names one.
        value: Reads any other value, or its range.
    """

    plugin: Callable[[Key, Any], Any]
    value: Callable[[Any], Any]


def read_recorded(kind: type, tree: Any, form: Form, problems: Problems, place: Place = Place()) -> Parsed:  # noqa: B008 - frozen
    """Return the fields of section ``kind``, nested sections as dictionaries; what is left out takes its default.

    Args:
        kind: A section.
        tree: What a record holds of it.
        form: How it was written.
        problems: Where everything is noted that no kdstudy wrote.
        place: Where in the record it is.
    """
    if not isinstance(tree, Mapping):
        problems.add(place, f"must be a section of keys, got {show(tree)}; restore a copy")
        return {}
    declared = fields_of(kind)
    for name in tree:
        if name not in declared:
            problems.add(place.key(str(name)), "unknown key; restore a copy, or upgrade kdstudy", unknown=True)
    parsed = {}
    for name, field in declared.items():
        inner = place.key(name)
        if field.section:
            parsed[name] = read_recorded(field.section, tree.get(name, {}), form, problems, inner)
        elif name in tree:
            value = _field(field, tree[name], form, problems, inner)
            if value is not INVALID:
                parsed[name] = value
        elif field.required:
            problems.add(inner, "missing; restore a copy")
        else:
            parsed[name] = copy.copy(field.default)
    return parsed


def _field(field: Field, written: Any, form: Form, problems: Problems, place: Place) -> Any:
    key = field.key
    try:
        if field.switched and isinstance(written, bool):
            return written
        if field.many:
            return tuple(form.plugin(key, item) for item in written)
        if key.plugin:
            return form.plugin(key, written)
        value = form.value(written)
    except _DAMAGE as error:
        reason = str(error) if isinstance(error, RangeError) else "is not what kdstudy writes"
        problems.add(place, f"{reason}, got {show(written)}; restore a copy")
        return INVALID
    ends = value.ends() if isinstance(value, _RANGES) else (value,)
    found = [check(field.annotation, end) for end in ends]
    for message in (message for _, messages in found for message in messages):
        problems.add(place, f"{message}{hint(key, field.default)}")
    if any(messages for _, messages in found):
        return INVALID
    return value if isinstance(value, _RANGES) else found[0][0]


def _notation_plugin(key: Key, written: Any) -> PluginSpec:
    if isinstance(written, str):
        return PluginSpec(written)
    ((name, options),) = written.items()
    label = None
    if key.labelled and "label" in options:
        label = _text(options["label"])
        options = {option: value for option, value in options.items() if option != "label"}
    return PluginSpec(_text(name), dict(options), label)


def _tagged_plugin(key: Key, written: Any) -> Any:
    if "range" in written:
        return _tagged_range(written)
    options = {_text(name): _tagged_value(value) for name, value in written["options"].items()}
    label = written["label"]
    return PluginSpec(_text(written["plugin"]), options, None if label is None else _text(label))


def _tagged_value(written: Any) -> Any:
    if not isinstance(written, dict):
        return written
    return dict(written["mapping"]) if "mapping" in written else _tagged_range(written)


def _tagged_range(written: Mapping[str, Any]) -> Range:
    kind, argument = written["range"], written["of"]
    if kind not in KINDS:
        raise ValueError(f"no kind of range, got {show(kind)}")
    if kind == "choice":
        filled = written["filled"]
        specs = None if filled is None else tuple(_tagged_plugin(_ANY, spec) for spec in filled)
        if specs is not None and len(specs) != len(argument):
            raise ValueError("a choice of other plug-ins than it lists")
        return Choice(tuple(argument), specs)
    low, high = argument
    if kind == "int":
        return Int(low, high, bool(written["real"]))
    return Uniform(low, high) if kind == "uniform" else Log(low, high)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a name, got {show(value)}")
    return value


def tagged(value: Any) -> Any:
    """Return a section, or a value that stands in one, in the form `TAGGED`."""
    if isinstance(value, PluginSpec):
        options = {name: tagged(option) for name, option in value.options.items()}
        return {"plugin": value.name, "options": options, "label": value.label}
    if isinstance(value, _RANGES):
        return _tagged_of(value)
    if is_dataclass(value):
        return {field.name: tagged(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {"mapping": value}
    return [tagged(item) for item in value] if isinstance(value, tuple) else value


def _tagged_of(span: Range) -> dict[str, Any]:
    written = {"range": type(span).__name__.lower(), "of": list(span.ends())}
    if isinstance(span, Int):
        return {**written, "real": span.real}
    if isinstance(span, Choice):
        return {**written, "filled": None if span.filled is None else [tagged(spec) for spec in span.filled]}
    return written


_ANY = Key("")
NOTATION = Form(_notation_plugin, lambda written: written)
TAGGED = Form(_tagged_plugin, _tagged_value)
