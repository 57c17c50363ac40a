"""JSON Schemas of what the commands print with ``--json``."""

import json
from importlib import resources
from typing import Any

__all__ = ["NAMES", "schema"]

NAMES = ("run", "compare", "reproduce", "list", "show", "report")


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``kdstudy NAME --json`` (of ``report``: ``--format json``).

    Args:
        name: One of `NAMES`.
    """
    text = (resources.files(__name__) / f"{name}.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
