"""What a shell completes beside commands and options: study IDs, plug-ins, study files, files to begin with.

click's own completion calls these while a line is typed: nothing is printed, nothing is created, and where the record
cannot be read nothing is proposed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from kdstudy.errors import KdstudyError
from kdstudy.plugins import Registry

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

PATIENCE = 0.0
"""Seconds in which a database is tried again: whoever presses Tab does not wait."""


def study_ids(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the IDs of the store that the line names so far, the newest first; each with its status."""
    from kdstudy.ledger import Ledger
    from kdstudy.storage import Store

    given = context.params
    try:
        store = Store.at(given.get("root"), given.get("ledger"), given.get("tracking_uri"))
        with Ledger.open(store.ledger_url, patience=PATIENCE) as ledger:
            summaries = ledger.summaries()
    except KdstudyError:
        return []
    found = [CompletionItem(summary.id, help=summary.status) for summary in reversed(summaries)]
    found += [CompletionItem("latest", help="the newest")] if found else []
    return [item for item in found if item.value.startswith(incomplete)]


def study_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the YAML files that begin so; where there are none, have the shell complete paths."""
    folder, _, start = incomplete.rpartition("/")
    place = Path(f"{folder}/" if "/" in incomplete else ".").expanduser()
    names = sorted(path.name for suffix in ("yaml", "yml") for path in place.glob(f"*.{suffix}"))
    prefix = incomplete[: len(incomplete) - len(start)]
    found = [CompletionItem(f"{prefix}{name}") for name in names if name.startswith(start)]
    return found or [CompletionItem(incomplete, type="file")]


def plugin_names(registry: Registry) -> Completer:
    """Return what completes the names of a kind of plug-in, without loading any."""
    return lambda _context, _parameter, incomplete: [
        CompletionItem(name) for name in registry if name.startswith(incomplete)
    ]
