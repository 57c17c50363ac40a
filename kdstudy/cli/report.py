"""``report``: write a study's results as one page, in HTML, Markdown or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from kdstudy.cli.options import plugin_option, store_options
from kdstudy.ledger import Ledger
from kdstudy.storage import DiskFolder, Folder, Store


@click.command("report")
@click.argument("studies", metavar="[ID]...", nargs=-1)
@click.option(
    "-o",
    "--output",
    "target",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it; `-` is stdout. What is there is replaced. By default HTML goes beside the study's "
    "trials in the store, the others to stdout.",
)
@click.option("--format", "form", type=click.Choice(["html", "md", "json"]), help="By default FILE's suffix, or html.")
@plugin_option
@store_options
def report_command(studies: tuple[str, ...], target: Path | None, form: str | None, store: Store) -> None:
    """Write what the studies ID... found on one page; HTML needs nothing else, not even a network."""
    from kdstudy.report import FORMATS, PAGE, render, report_of, write_report

    form = form or _form_of(target, list(FORMATS))
    with Ledger.open(store.ledger_url) as ledger:
        ids = [ledger.resolve(study) for study in studies or ("latest",)]
        if str(target) == "-" or (target is None and form != "html"):
            click.echo(render(report_of(ledger, ids), form), nl=False)
            return
        folder: Folder = store.study(ids[0]) if target is None else DiskFolder(target.absolute().parent)
        name = PAGE if target is None else target.name
        made = target is not None and not target.absolute().parent.is_dir()
        write_report(ledger, ids, folder, name, form)
    click.echo(f"{folder}/{name}: report on {', '.join(ids)}{' (its folder was made)' if made else ''}")


def _form_of(target: Path | None, forms: Sequence[str]) -> str:
    """Return the form that a file's name asks for; HTML where it says nothing."""
    suffix = "" if target is None else target.suffix.removeprefix(".").lower()
    if suffix and suffix not in forms:
        known = ", ".join(f".{form}" for form in forms)
        raise click.UsageError(f"-o: a report ends in {known}, got '{target}'; name it so, or say --format")
    return suffix or "html"
