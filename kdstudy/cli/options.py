"""Options and output that several commands share."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from kdstudy.cli.completion import study_files, study_ids
from kdstudy.cli.spelling import remember_options
from kdstudy.plugins import allow_plugins, unfound_plugins
from kdstudy.storage import Store

log = logging.getLogger(__name__)

Command = TypeVar("Command", bound=Callable[..., Any])


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--store``, ``--ledger`` and ``--tracking-uri``; the command receives ``store``."""

    @click.option("--store", "root", metavar="DIR", help="Folder of the store [KDSTUDY_STORE, ./kdstudy-data].")
    @click.option("--ledger", metavar="URL", help="Database of the record [KDSTUDY_LEDGER, SQLite in the store].")
    @click.option("--tracking-uri", metavar="URI", help="MLflow [MLFLOW_TRACKING_URI, SQLite in the store].")
    @wraps(command)
    def with_store(*args: Any, root: str | None, ledger: str | None, tracking_uri: str | None, **values: Any) -> Any:
        remember_options()
        _tell_unfound(click.get_current_context().params.get("path"))
        return command(*args, store=Store.at(root, ledger, tracking_uri), **values)

    return with_store


def _tell_unfound(study_file: Path | None) -> None:
    """Say which modules were allowed that are not there: misspelt ones, most likely."""
    for name in unfound_plugins(study_file):
        log.warning(f"--allow-plugin: nothing is called '{name}' here, so this allows nothing; is it spelled right?")


TRIAL_NUMBER = click.IntRange(0, 2**31 - 1)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
address_option = click.option(
    "--address", metavar="HOST:PORT", help="Ray cluster of which this machine is a node; without it Ray starts here."
)
plugin_option = click.option(
    "--allow-plugin",
    metavar="MODULE",
    multiple=True,
    expose_value=False,
    callback=lambda _context, _parameter, packages: allow_plugins(*packages),
    help="Run this module's code where file or record names module:Name: a package, or DIR/mymodule.py for one that is "
    "not installed (its name is enough where it lies beside STUDY.yaml) [KDSTUDY_ALLOW_PLUGINS]; repeatable.",
)
study_argument = click.argument("study", metavar="[ID]", default="latest", shell_complete=study_ids)
studies_argument = click.argument("studies", metavar="[ID]...", nargs=-1, shell_complete=study_ids)
file_argument = click.argument(
    "path", metavar="STUDY.yaml", type=click.Path(path_type=Path), shell_complete=study_files
)


def nothing_printed() -> AbstractContextManager[object]:
    """Keep stdout for the result: what Ray, or code of the user's own, prints meanwhile goes to stderr."""
    return redirect_stdout(sys.stderr)


def answered_yes(question: str) -> bool:
    """Ask on stderr and return whether the answer is yes; nothing (a line's end) and no stdin are no.

    Args:
        question: With its question mark.

    Raises:
        click.Abort: It was interrupted.
    """
    try:
        with nothing_printed():  # click up to 8.1 puts a blank on stdout before an answer that it reads
            return click.confirm(question, err=True)
    except click.Abort as error:
        if not isinstance(error.__context__, EOFError):
            raise
        click.echo("\nnobody answered; --yes does not ask", err=True)
        return False


def print_json(document: Any) -> None:
    """Print one JSON document; NaN is a bug, not a value."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))
