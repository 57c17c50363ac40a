"""Makes tables of the files that the parts have written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.job import read_rows
from kdstudy.results import markdown_table

TITLES = {
    "checks": "Tests that need a GPU",
    "twice": "A trial twice, and on the CPU",
    "rates": "What the device can do",
    "steps": "A training step",
    "packs": "Trials an hour on one device",
    "hours": "Hours of the studies",
    "seeds": "Seeds at full recipe",
}


def report(out: Path) -> str:
    """Return the page of a folder of results, in Markdown: the machine, the parts' states, a table for each file."""
    machine = read(out / "machine.json")
    lines = ["# kdstudy on this device", "", *(f"- {name}: {value}" for name, value in machine.items()), ""]
    states = [[name, *(str(part.get(key, "")) for key in ("state", "seconds", "why"))] for name, part in parts(out)]
    lines += [markdown_table(["part", "state", "seconds", "why"], states), ""]
    for name, title in TITLES.items():
        rows = read_rows(out / f"{name}.jsonl")
        if rows:
            lines += [f"## {title}", "", table(rows), ""]
    return "\n".join(lines)


def parts(out: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return each part's last state."""
    return list(read(out / "parts.json").items())


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with a column for each name that any row has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return markdown_table(names, [[shown(row.get(name, "")) for name in names] for row in rows])


def shown(value: Any) -> str:
    """Return a value as a cell: four digits of a number."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def read(path: Path) -> dict[str, Any]:
    """Return the object in a file; an empty one where there is none."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
