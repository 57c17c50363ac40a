"""``sync`` and ``ui``: publish the record to MLflow, and open MLflow's UI."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

import click

from kdstudy.cli.options import json_option, plugin_option, print_json, store_options, studies_argument, study_argument
from kdstudy.errors import RecordError, StoreError
from kdstudy.ledger import Ledger
from kdstudy.storage import Store

ENDS = "Ctrl-C ends it"
PORT, PORTS = 5000, 20
"""The port of the UI, and how many from it on are tried."""


@click.command("sync")
@study_argument
@plugin_option
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
@studies_argument
@click.option("--port", type=click.IntRange(1, 65535), help="[5000, or the next that is free]")
@click.option(
    "--optuna",
    is_flag=True,
    help="Optuna's dashboard instead (extra `dashboard`), over the search of each arm as it is now.",
)
@click.option("--open", "in_browser", is_flag=True, help="Open the page in a browser, too.")
@plugin_option
@store_options
def ui_command(studies: tuple[str, ...], port: int | None, optuna: bool, in_browser: bool, store: Store) -> int:
    """Start the MLflow UI on this store, on loopback, and print the pages of studies ID..., the newest by default.

    With --optuna, Optuna's dashboard over studies ID..., all by default.
    """
    port = port or free_port()
    if optuna:
        return _optuna(studies, port, in_browser, store)
    from kdstudy.runner import terminable
    from kdstudy.tracking import serve

    pages = _pages(studies, store)
    if not store.tracking_uri.startswith("sqlite:"):
        _show(pages(store.tracking_uri.rstrip("/")), in_browser)
        return 0
    click.echo("starting the MLflow UI ...", err=True)
    with terminable():
        return serve(store.tracking_uri, store.artifacts, port, lambda base: _show(pages(base), in_browser, ENDS))


def free_port() -> int:
    """Return the usual port, or the next that is free: on macOS, for one, the system itself has 5000."""
    for port in range(PORT, PORT + PORTS):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                if port != PORT:
                    click.echo(f"port {PORT} is taken; this is on {port}", err=True)
                return port
    raise StoreError(f"ui: ports {PORT} to {PORT + PORTS - 1} are all taken; choose another --port")


def _pages(studies: Sequence[str], store: Store) -> Callable[[str], list[str]]:
    """Return what gives the pages, once it is known where the UI is: each study's runs, then all studies."""
    from kdstudy.report import MlflowLinks

    with Ledger.open(store.ledger_url) as ledger:
        ids = [ledger.resolve(study) for study in studies] or [summary.id for summary in ledger.summaries()][-1:]
        links = {study_id: MlflowLinks.of(ledger.study(study_id)) for study_id in ids}
    for study_id in (study_id for study_id, link in links.items() if link.base is None):
        click.echo(f"{study_id} is not in MLflow; `kdstudy sync {study_id}` brings it there", err=True)

    def pages(base: str) -> list[str]:
        known = {study_id: replace(link, base=base) for study_id, link in links.items() if link.base}
        runs = [f"{link.runs}  {study_id}" for study_id, link in known.items()]
        return [*runs, f"{MlflowLinks(base).experiments}  all studies"]

    return pages


def _optuna(studies: tuple[str, ...], port: int, in_browser: bool, store: Store) -> int:
    from kdstudy.report import serve

    with Ledger.open(store.ledger_url) as ledger:
        ids = [ledger.resolve(study) for study in studies] or [summary.id for summary in ledger.summaries()]
        if not ids:
            raise RecordError(f"ui: no studies in {ledger.place}; run one first, or name its --store")
        click.echo("reading the record ...", err=True)
        with contextlib.suppress(KeyboardInterrupt):
            serve(ledger, ids, port, lambda address: _show([address], in_browser, ENDS))
    return 0


def _show(pages: Sequence[str], in_browser: bool, *more: str) -> None:
    """Print addresses, each with what is there, and open the first."""
    click.echo("\n".join([*pages, *more]))
    if in_browser and click.launch(pages[0].partition("  ")[0]):
        click.echo("no browser could be started here", err=True)
