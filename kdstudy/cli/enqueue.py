"""``enqueue``: a user's own guess as a trial."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from kdstudy.cli.options import json_option, plugin_option, print_json, store_options
from kdstudy.ledger import Ledger
from kdstudy.results import brief, count_of
from kdstudy.storage import Store


@click.command("enqueue")
@click.argument("study", metavar="ID")
@click.option(
    "--values",
    "given",
    metavar="KEY=VALUE",
    multiple=True,
    required=True,
    help="A searched value, by its path or the end of it, such as base_lr=0.1; repeatable.",
)
@plugin_option
@store_options
@json_option
def enqueue_command(study: str, given: tuple[str, ...], store: Store, as_json: bool) -> None:
    """Have study ID try these values: in every arm that searches them, in each search, as its next trial.

    The trial is one of the arm's budget; values that are not named are proposed as ever. The study must not run:
    interrupt it (Ctrl-C), enqueue, resume.
    """
    from kdstudy.runner import enqueue

    values = dict(_parsed(text) for text in given)
    if len(values) < len(given):
        raise click.UsageError("--values: a key is given twice; give each once")
    with Ledger.open(store.ledger_url) as ledger:
        study_id = ledger.resolve(study)
        found = enqueue(ledger, study_id, values)
    if as_json:
        print_json({"study_id": study_id, "trials": [asdict(guess) for guess in found]})
        return
    told = ", ".join(f"{name} {brief(value)}" for name, value in values.items())
    click.echo(f"{study_id}: {told} will be tried in {count_of(len(found), 'trial')}; `kdstudy resume` runs them")
    for guess in found:
        click.echo(f"  {guess.arm}, search {guess.search}, its trial {guess.index}")


def _parsed(text: str) -> tuple[str, Any]:
    """Return key and value of ``KEY=VALUE``, the value as a study file writes it."""
    from kdstudy.study import parse_text

    key, equals, value = text.partition("=")
    if not key or not equals or not value:
        raise click.UsageError(f"--values: write KEY=VALUE, such as base_lr=0.1, got '{text}'")
    tree, problems = parse_text(f"value: {value}", "--values")
    if problems or [*tree] != ["value"]:
        raise click.UsageError(f"--values: {key} has no value that a study file could have, got '{value}'")
    return key.strip(), tree["value"]
