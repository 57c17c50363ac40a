"""``diff``: what differs between two trials of the record."""

from __future__ import annotations

import re
from typing import Any

import click

from kdstudy.cli.options import json_option, plugin_option, print_json, store_options
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.results import FieldPair, brief, table
from kdstudy.storage import Store

PARTS = {
    "values": "searched values",
    "config": "configuration",
    "inputs": "data and teacher",
    "environment": "environment",
    "layers": "layers, as last measured and set",
    "scores": "how it went",
}
LONGEST = 60
"""Characters of a value that are shown."""


@click.command("diff")
@click.argument("first", metavar="ID:TRIAL")
@click.argument("second", metavar="ID:TRIAL")
@plugin_option
@store_options
@json_option
def diff_command(first: str, second: str, store: Store, as_json: bool) -> None:
    """Show what differs between two trials: values, configuration, data, teacher, environment, layers and scores.

    Without ':TRIAL' it is the trial of the student to take home. Nothing is run.
    """
    from kdstudy.analysis import trial_difference

    with Ledger.open(store.ledger_url) as ledger:
        document = trial_difference(ledger, _trial(ledger, first), _trial(ledger, second))
    if as_json:
        print_json(document)
        return
    names = [f"{trial['study_id']}:{trial['trial']}" for trial in document["trials"]]
    parts: dict[str, Any] = {**document}
    same = [title for part, title in PARTS.items() if not parts[part]]
    for part, title in PARTS.items():
        if parts[part]:
            click.echo(f"{title}:")
            click.echo(table(["", *names], [_row(pair) for pair in parts[part]]) + "\n")
    if same:
        click.echo(f"no difference: {', '.join(same)}")


def _trial(ledger: Ledger, reference: str) -> TrialRecord:
    """Return the trial that ``ID:TRIAL`` or ``ID`` means."""
    from kdstudy.analysis import chosen_trial

    found = re.fullmatch(r"(.*?)(?::(\d{1,9}))?", reference)
    if found is None or not found[1] or found[1].endswith(":"):
        raise click.UsageError(f"'{reference}' is no trial; write ID:TRIAL, such as latest:3")
    return chosen_trial(ledger, ledger.resolve(found[1]), None if found[2] is None else int(found[2])).trial


def _row(pair: FieldPair) -> list[str]:
    return [pair["field"], _short(pair["first"]), _short(pair["second"])]


def _short(value: Any) -> str:
    text = "-" if value is None else " ".join(brief(value).split()) if value != "" else "''"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
