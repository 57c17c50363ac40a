"""``sync`` and ``ui``: MLflow's view of the record."""

from __future__ import annotations

import click

from kdstudy.cli.options import json_option, print_json, store_options, study_argument
from kdstudy.ledger import Ledger
from kdstudy.store import Store


@click.command("sync")
@study_argument
@store_options
@json_option
def sync_command(study: str, store: Store, as_json: bool) -> None:
    """Bring MLflow up to date with the record of study ID; what it has already is not sent twice."""
    from kdstudy.search.outcome import outcome_of, publish_outcome, write_page
    from kdstudy.tracking import Tracker
    from kdstudy.tracking.sync import sync_study

    with Ledger.open(store.ledger_url) as ledger:
        study_id = ledger.resolve(study)
        tracker = Tracker(store.tracking_uri, store.artifacts)
        sync_study(ledger, study_id, tracker)
        if ledger.study(study_id).status == "finished":
            write_page(ledger, study_id, store)
            publish_outcome(tracker, outcome_of(ledger, study_id), store)
        tracker.close()
    if as_json:
        print_json({"study_id": study_id, "pending": 0})
    else:
        click.echo(f"{study_id}: everything is in MLflow")


@click.command("ui")
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535))
@store_options
def ui_command(port: int, store: Store) -> int:
    """Start the MLflow UI on this store, on loopback, and print its address."""
    from kdstudy.tracking.ui import serve

    if not store.tracking_uri.startswith("sqlite:"):
        click.echo(f"the runs are at {store.tracking_uri}")
        return 0
    click.echo("starting the MLflow UI ...", err=True)
    return serve(store.tracking_uri, port, lambda address: click.echo(f"{address}\nCtrl-C ends it"))
