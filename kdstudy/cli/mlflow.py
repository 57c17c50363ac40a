"""``sync`` and ``ui``: publish the record to MLflow, and open MLflow's UI."""

from __future__ import annotations

import contextlib

import click

from kdstudy.cli.options import json_option, print_json, store_options, study_argument
from kdstudy.errors import RecordError
from kdstudy.ledger import Ledger
from kdstudy.storage import Store


@click.command("sync")
@study_argument
@store_options
@json_option
def sync_command(study: str, store: Store, as_json: bool) -> int:
    """Bring MLflow up to date with the record of study ID; what it has already is not sent twice."""
    from kdstudy.runner import deliver

    with Ledger.open(store.ledger_url) as ledger:
        study_id = ledger.resolve(study)
        troubles = deliver(ledger, study_id, store)
    if as_json:
        print_json({"study_id": study_id, "pending": len(troubles)})
    elif not troubles:
        click.echo(f"{study_id}: everything is in MLflow")
    return 1 if troubles else 0


@click.command("ui")
@click.argument("studies", metavar="[ID]...", nargs=-1)
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--optuna",
    is_flag=True,
    help="Optuna's dashboard instead (extra `dashboard`), over the search of each arm as it is now.",
)
@store_options
def ui_command(studies: tuple[str, ...], port: int, optuna: bool, store: Store) -> int:
    """Start the MLflow UI on this store, on loopback, and print its address.

    With --optuna, Optuna's dashboard over studies ID..., all by default.
    """
    if optuna:
        return _optuna(studies, port, store)
    if studies:
        raise click.UsageError("the MLflow UI shows all studies; an ID goes with --optuna")
    from kdstudy.runner import terminable
    from kdstudy.tracking import serve

    if not store.tracking_uri.startswith("sqlite:"):
        click.echo(f"the runs are at {store.tracking_uri}")
        return 0
    click.echo("starting the MLflow UI ...", err=True)
    with terminable():
        return serve(store.tracking_uri, store.artifacts, port, _ready)


def _optuna(studies: tuple[str, ...], port: int, store: Store) -> int:
    from kdstudy.report import serve

    with Ledger.open(store.ledger_url) as ledger:
        ids = [ledger.resolve(study) for study in studies] or [summary.id for summary in ledger.summaries()]
        if not ids:
            raise RecordError(f"ui: no studies in {ledger.place}; run one first, or name its --store")
        click.echo("reading the record ...", err=True)
        with contextlib.suppress(KeyboardInterrupt):
            serve(ledger, ids, port, _ready)
    return 0


def _ready(address: str) -> None:
    click.echo(f"{address}\nCtrl-C ends it")
