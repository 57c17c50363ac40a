"""``submit``: send a study to a Ray cluster, which runs its driver."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kdstudy.cli.options import file_argument, json_option, plugin_option, print_json
from kdstudy.study import load_study


@click.command("submit")
@file_argument
@click.option("--address", metavar="URL", required=True, help="The cluster's Ray dashboard: http://HOST:8265.")
@click.option("--store", required=True, metavar="DIR", help="A path that all nodes share, or s3://BUCKET/PREFIX.")
@click.option("--ledger", metavar="URL", help="Database of the record [the cluster's KDSTUDY_LEDGER, SQLite in DIR].")
@click.option("--tracking-uri", metavar="URI", help="MLflow [the cluster's MLFLOW_TRACKING_URI, SQLite in DIR].")
@click.option(
    "--with",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Send this folder along, with STUDY.yaml in it: for plug-ins of your own.",
)
@click.option("--warm-start", metavar="ID", help="An earlier study of that store, from whose trials the search learns.")
@click.option("--wait", is_flag=True, help="Show what the job prints until it ends, and exit with its code.")
@plugin_option
@json_option
def submit_command(  # noqa: PLR0913 - one a command-line option
    path: Path,
    *,
    address: str,
    store: str,
    ledger: str | None,
    tracking_uri: str | None,
    folder: Path | None,
    warm_start: str | None,
    wait: bool,
    as_json: bool,
) -> int:
    """Send STUDY.yaml to a Ray cluster as a Ray job; the driver runs there, and this machine may go away.

    The cluster's nodes need kdstudy in this version. Paths in the study file are paths on the nodes.
    """
    study = load_study(path)
    from kdstudy.cluster import Places, follow, submit
    from kdstudy.runner import check_study

    check_study(study, str(path), address=address)
    job = submit(path, address, Places(store, ledger, tracking_uri), folder=folder, warm_start=warm_start)
    if as_json:
        print_json({"job": job, "address": address})
    else:
        click.echo(job)
    if not wait:
        click.echo(f"follow it: ray job logs --address {address} --follow {job}", err=True)
        return 0
    return follow(address, job, lambda text: print(text, end="", file=sys.stderr, flush=True))
