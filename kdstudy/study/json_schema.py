"""The JSON Schema of the study file, for editors: generated from the types that validate it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from kdstudy.plugins import Registry
from kdstudy.study.coerce import to_plain
from kdstudy.study.fields import LABEL, REGISTRIES, Field, fields_of
from kdstudy.study.plugin_spec import plain
from kdstudy.study.schema import StudyFile

Schema = dict[str, Any]

SCHEMA_FILE = Path(__file__).with_name("study.schema.json")
"""What `json_schema` returns, as the package carries it for editors."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a study file, every registered plug-in's options included."""
    ranges = {
        "uniform": _range("uniform", {"type": "number"}),
        "log": _range("log", {"type": "number", "exclusiveMinimum": 0}),
        "int": _range("int", {"type": "integer"}),
    }
    return {"$schema": DIALECT, "title": "kdstudy study file", **_section(StudyFile), "$defs": ranges}


def type_schema(annotation: Any) -> Schema:
    """Return the schema of one value's type and bounds, spelt the same by every release of pydantic."""
    schema: Schema = _settled(TypeAdapter(annotation).json_schema())
    schema.pop("title", None)
    return schema


def _settled(node: Any) -> Any:
    """Return a schema without what releases of pydantic write differently: 1.0 for 1, what holds anyway."""
    if isinstance(node, dict):
        return {key: _settled(value) for key, value in node.items() if (key, value) != ("additionalProperties", True)}
    if isinstance(node, list):
        return [_settled(item) for item in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node


def argument_texts(plugin: Any) -> dict[str, str]:
    """Return what a plug-in's docstring says about each of its arguments (Google style).

    The library docstring_parser gives the same for all 60 plug-ins: not worth a dependency for these 14 lines.
    """
    _, _, section = (inspect.getdoc(plugin) or "").partition("\nArgs:\n")
    texts: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        if entry := re.match(r" {4}(\w+): (.*)", line):
            name = entry[1]
            texts[name] = entry[2]
        elif name and line.strip():
            texts[name] += " " + line.strip()
    return texts


def _section(kind: type) -> Schema:
    fields = fields_of(kind)
    return {
        "type": "object",
        "properties": {name: _field(declared) for name, declared in fields.items()},
        "required": [name for name, declared in fields.items() if declared.required],
        "additionalProperties": False,
    }


def _field(declared: Field) -> Schema:
    schema: Schema = {"description": declared.key.meaning}
    if declared.section:
        return {**schema, **_section(declared.section)}
    if not declared.required:
        schema["default"] = plain(declared.default)
    if declared.many:
        items = _plugin(str(declared.key.plugin), ranged=declared.key.ranged, labelled=declared.key.labelled)
        listed = {"type": "array", "minItems": 1, "items": items}
        return {**schema, **({"anyOf": [{"type": "boolean"}, listed]} if declared.switched else listed)}
    if declared.key.plugin:
        value = _plugin(declared.key.plugin, ranged=declared.key.ranged)
        fixed = _plugin(declared.key.plugin, ranged=False)
        return {**schema, **(_or_range(value, fixed) if declared.key.ranged else value)}
    value = type_schema(declared.annotation)
    return {**(_or_range(value, value) if declared.key.ranged else value), **schema}


def _plugin(kind: str, *, ranged: bool, labelled: bool = False) -> Schema:
    registry = REGISTRIES[kind]
    with_options = {name: _options(registry, name, ranged=ranged) for name in registry}
    if labelled:
        label = {
            "type": "string",
            "pattern": f"^{LABEL.pattern}$",
            "not": {"enum": list(registry)},
            "description": "What this study calls the variant.",
        }
        for options in with_options.values():
            options["properties"] = {"label": label, **options["properties"]}
    bare = [name for name, options in with_options.items() if not options["required"]]
    return {
        "anyOf": [
            {"enum": bare},
            {"type": "string", "pattern": ":", "description": f"A {kind} of your own: package.module:Name."},
            {
                "type": "object",
                "properties": with_options,
                "patternProperties": {":": {"type": ["object", "null"]}},
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        ]
    }


def _options(registry: Registry, name: str, *, ranged: bool) -> Schema:
    texts = argument_texts(registry.load(name))
    properties: Schema = {}
    options = registry.options(name).values()
    for option in options:
        value = type_schema(option.annotation)
        schema = _or_range(value, value) if ranged else value
        if text := texts.get(option.name):
            schema["description"] = text
        if not option.required:
            schema["default"] = to_plain(option.annotation, option.default)
        properties[option.name] = schema
    required = [option.name for option in options if option.required]
    return {
        "type": "object" if required else ["object", "null"],
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _or_range(value: Schema, option: Schema) -> Schema:
    """Return the schema of a value or a range of it."""
    kinds = _types(value)
    ranges: list[Schema] = []
    if "number" in kinds:
        ranges += [_ref("uniform"), _ref("log")]
    if kinds & {"number", "integer"}:
        ranges.append(_ref("int"))
    ranges.append(
        {
            "type": "object",
            "required": ["choice"],
            "additionalProperties": False,
            "properties": {"choice": {"type": "array", "items": option, "minItems": 2, "uniqueItems": True}},
        }
    )
    return {"anyOf": [value, *ranges]}


def _range(kind: str, end: Schema) -> Schema:
    ends = {"type": "array", "items": end, "minItems": 2, "maxItems": 2}
    return {"type": "object", "required": [kind], "additionalProperties": False, "properties": {kind: ends}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _types(schema: Schema) -> set[str]:
    found = {schema["type"]} if isinstance(schema.get("type"), str) else set()
    return found.union(*(_types(member) for member in schema.get("anyOf", ())))
