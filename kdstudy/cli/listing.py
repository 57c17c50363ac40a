"""``list``, ``rename`` and ``archive``: the studies of a store, their titles, and which of them are listed."""

from __future__ import annotations

import click

from kdstudy.cli.options import json_option, print_json, store_options
from kdstudy.cli.spelling import complete
from kdstudy.ledger import Ledger
from kdstudy.results import decimal, table
from kdstudy.storage import Store


@click.command("list")
@click.option("--all", "with_archived", is_flag=True, help="Archived studies too.")
@store_options
@json_option
def list_command(with_archived: bool, store: Store, as_json: bool) -> None:
    """List the studies of the store, the oldest first."""
    with Ledger.open(store.ledger_url) as ledger:
        ledger.require()
        everything = ledger.summaries()
    titled = any(each.title for each in everything)
    summaries = [each for each in everything if with_archived or not each.archived]
    if as_json:
        print_json([summary.to_json() for summary in summaries])
    elif everything and not summaries:
        click.echo(f"all {len(everything)} studies in {store.folder} are archived; --all lists them")
    elif not summaries:
        click.echo(complete(f"no studies in {store.folder}; `kdstudy run STUDY.yaml` makes the first"))
    else:
        click.echo(
            table(
                ["study", "status", "trials", "best val", "created", *["title"] * titled],
                [
                    [
                        each.id,
                        each.status + ", archived" * each.archived,
                        str(each.trials),
                        decimal(each.best_val),
                        f"{each.created:%Y-%m-%d %H:%M} UTC",
                        *[each.title or ""] * titled,
                    ]
                    for each in summaries
                ],
            )
        )


@click.command("rename")
@click.argument("study", metavar="ID")
@click.argument("title", metavar="TITLE", required=False)
@store_options
@json_option
def rename_command(study: str, title: str | None, store: Store, as_json: bool) -> None:
    """Give study ID a title, which commands take for its ID; without TITLE, take it away.

    The study's ID and name stay as they are: they name its files and its runs in MLflow.
    """
    with Ledger.open(store.ledger_url) as ledger:
        study_id = ledger.resolve(study)
        ledger.list_as(study_id, title=title)
    if as_json:
        print_json({"study_id": study_id, "title": title})
    else:
        click.echo(f"{study_id}: {'has no title' if title is None else f'is called {title!r}'}")


@click.command("archive")
@click.argument("studies", metavar="ID...", nargs=-1, required=True)
@click.option("--undo", is_flag=True, help="List them again.")
@store_options
@json_option
def archive_command(studies: tuple[str, ...], undo: bool, store: Store, as_json: bool) -> None:
    """Leave studies out of `kdstudy list` and of 'latest'. Nothing is removed, and --undo takes it back.

    An archived study can be shown, compared, resumed and exported by its ID, as before.
    """
    with Ledger.open(store.ledger_url) as ledger:
        ids = [ledger.resolve(study) for study in studies]
        for study_id in ids:
            ledger.list_as(study_id, archived=not undo)
    if as_json:
        print_json([{"study_id": study_id, "archived": not undo} for study_id in ids])
        return
    for study_id in ids:
        click.echo(f"{study_id}: {'listed again' if undo else 'archived; `kdstudy list --all` lists it'}")
