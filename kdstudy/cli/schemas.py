"""JSON Schemas of what the commands print with ``--json``, generated from the types in `kdstudy.results`."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from kdstudy.results import (
    ComparisonDocument,
    ReportDocument,
    ReproductionDocument,
    RunDocument,
    ShowDocument,
    SummaryDocument,
)

__all__ = ["NAMES", "schema"]

_DOCUMENTS: dict[str, Any] = {
    "run": RunDocument,
    "compare": ComparisonDocument,
    "reproduce": ReproductionDocument,
    "list": list[SummaryDocument],
    "show": ShowDocument,
    "report": ReportDocument,
}
NAMES = tuple(_DOCUMENTS)


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``kdstudy NAME --json`` (of ``report``: ``--format json``).

    Args:
        name: One of `NAMES`.
    """
    made = TypeAdapter(_DOCUMENTS[name]).json_schema(mode="serialization", schema_generator=_Generator)
    option = "--format json" if name == "report" else "--json"
    head = {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": f"kdstudy/{name}.json",
        "title": f"kdstudy {name} {option}",
    }
    return head | made


class _Generator(GenerateJsonSchema):
    """Closes every document to keys it does not name, and leaves out the titles, which only repeat the keys."""

    def typed_dict_schema(self, schema: Any) -> dict[str, Any]:
        made = super().typed_dict_schema(schema)
        made.pop("title", None)
        return made | {"additionalProperties": False}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False
