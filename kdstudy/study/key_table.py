"""The reference table of the study file's keys in studies/README.md: generated from the types that validate it.

``studies/README.md`` keeps a copy.

``python -m kdstudy.study.key_table`` prints it.
"""

from __future__ import annotations

import sys
from typing import Any

from kdstudy.study.fields import Field, fields_of
from kdstudy.study.json_schema import Schema, type_schema
from kdstudy.study.plugin_spec import plain
from kdstudy.study.schema import StudyFile


def key_table() -> str:
    """Return the table of every key of the study file, in Markdown."""
    rows = ["| key | type | default | range | meaning |", "|---|---|---|---|---|"]
    for name, declared in fields_of(StudyFile).items():
        if declared.section is None:
            rows.append(_row(name, declared))
            continue
        default = "required" if declared.required else "all defaults"
        rows.append(f"| **`{name}`** | section | {default} | | {declared.key.meaning} |")
        rows += [_row(f"{name}.{inner.name}", inner) for inner in fields_of(declared.section).values()]
    return "\n".join(rows) + "\n"


def _row(path: str, declared: Field) -> str:
    default = "required" if declared.required else f"`{_shown(declared.default)}`"
    ranged = "no" if not declared.key.ranged else "options" if declared.many else "yes"
    return f"| `{path}` | {type_text(declared)} | {default} | {ranged} | {declared.key.meaning} |"


def _shown(default: Any) -> str:
    value = plain(default)
    if isinstance(value, str):
        return value
    return "null" if value is None else str(value).lower()


def type_text(declared: Field) -> str:
    """Return the type of a key in a few words."""
    if declared.key.plugin:
        switch = "`true` or `false` or " if declared.switched else ""
        return f"{switch}list of {declared.key.plugin} names" if declared.many else f"{declared.key.plugin} name"
    return _words(type_schema(declared.annotation))


def _words(schema: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(_words(member) for member in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_words(schema['items'])}" if "items" in schema else "pairs of names"
    words = {
        "integer": "whole number",
        "number": "number",
        "boolean": "`true` or `false`",
        "string": "text",
        "object": "mapping",
        "null": "null",
    }[schema["type"]]
    bounds = [
        f"{sign} {schema[name]}".removesuffix(".0")  # which pydantic up to 2.10 writes
        for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if name in schema
    ]
    return f"{words} {', '.join(bounds)}".strip()


if __name__ == "__main__":
    sys.stdout.write(key_table())
