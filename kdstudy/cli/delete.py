"""``delete``: remove a study from record, MLflow and store."""

from __future__ import annotations

import click

from kdstudy.cli.completion import study_ids
from kdstudy.cli.options import answered_yes, json_option, print_json, store_options
from kdstudy.ledger import Ledger
from kdstudy.storage import Store


@click.command("delete")
@click.argument("study", metavar="ID", shell_complete=study_ids)
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_options
@json_option
def delete_command(study: str, yes: bool, store: Store, as_json: bool) -> int:
    """Remove study ID: its record, its runs and model versions in MLflow, its files.

    Not while a driver runs it, nor while another study learns from it (--warm-start). Teachers stay, for other studies
    to use. A server's runs are marked deleted; `mlflow gc` there removes them for good.
    """
    from kdstudy.runner import delete_study

    with Ledger.open(store.ledger_url) as ledger:
        record = ledger.study(ledger.resolve(study))
        count = len(ledger.trials(record.id))
        if not yes:
            places = f"{ledger.place}, MLflow and {store.folder}"
            if not answered_yes(f"remove {record.id} ({record.status}, {count} trials) from {places}?"):
                click.echo("nothing removed", err=True)
                return 1  # as apt: a script must not take it for done
        delete_study(ledger, record.id, store)
    if as_json:
        print_json({"study_id": record.id, "trials": count})
    else:
        click.echo(f"{record.id}: removed, with {count} trials")
    return 0
