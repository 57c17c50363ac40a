"""``report``: write a study's results as one page, in HTML, Markdown or JSON."""

from __future__ import annotations

from pathlib import Path

import click

from kdstudy.cli.options import plugin_option, store_options, studies_argument
from kdstudy.errors import StudyError
from kdstudy.ledger import Ledger
from kdstudy.storage import Store


@click.command("report")
@studies_argument
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
    from kdstudy.report import render, report_of, write_report_at

    form = form or _form_of(target)
    with Ledger.open(store.ledger_url) as ledger:
        ids = [ledger.resolve(study) for study in studies or ("latest",)]
        if str(target) == "-" or (target is None and form != "html"):
            click.echo(render(report_of(ledger, ids), form), nl=False)
            return
        made = target is not None and not target.absolute().parent.is_dir()
        place = write_report_at(ledger, ids, store, target, form)
    click.echo(f"{place}: report on {', '.join(ids)}{' (its folder was made)' if made else ''}")


def _form_of(target: Path | None) -> str:
    """Return the form that a file's name asks for; HTML where it says nothing."""
    from kdstudy.report import form_of

    try:
        return form_of(target)
    except StudyError as error:
        raise click.UsageError(f"-o: {error}") from error
