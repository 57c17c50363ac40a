"""The command line: `main` is the entry point, each module beside this one holds a group of commands.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 what the user can put right (or a rerun
that differs), 2 wrong usage, 3 a finished study with failed trials, 4 a finished one of which MLflow lacks something,
130 interrupted.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from kdstudy import __version__
from kdstudy.cli.spelling import complete, forget_options
from kdstudy.errors import KdstudyError, did_you_mean
from kdstudy.plugins import lazy_names

if TYPE_CHECKING:
    from kdstudy.cli.schemas import schema

__all__ = ["cli", "main", "run", "schema"]

__getattr__ = lazy_names(__name__, {"schema": "kdstudy.cli.schemas"})

INTERRUPTED = 130

# Name to module and line of help: listing commands imports none of them.
COMMANDS = {
    "init": ("kdstudy.cli.init", "Write a commented study file to begin with."),
    "check": ("kdstudy.cli.check", "Find what is wrong with a study, before it is run."),
    "schema": ("kdstudy.cli.check", "Print the study file's JSON Schema, for editors."),
    "run": ("kdstudy.cli.run", "Run a study: teacher, search, confirmation, comparison."),
    "submit": ("kdstudy.cli.submit", "Send a study to a Ray cluster, where its driver runs."),
    "resume": ("kdstudy.cli.run", "Continue an interrupted study."),
    "confirm": ("kdstudy.cli.run", "Repeat a study's search, or add seeds to its searches."),
    "enqueue": ("kdstudy.cli.enqueue", "Have a study try values of your own."),
    "list": ("kdstudy.cli.listing", "List the studies of the store."),
    "show": ("kdstudy.cli.show", "Show a study, or one of its trials."),
    "compare": ("kdstudy.cli.show", "Compare policies (and studies) by their confirmed runs."),
    "diff": ("kdstudy.cli.diff", "Show what differs between two trials."),
    "report": ("kdstudy.cli.report", "Write what a study found on one page: HTML, Markdown or JSON."),
    "export": ("kdstudy.cli.export", "Write a trial's student for another program: safetensors, torch, ONNX."),
    "reproduce": ("kdstudy.cli.reproduce", "Rerun a trial from the record and compare epoch by epoch."),
    "sync": ("kdstudy.cli.mlflow", "Bring MLflow up to date with the record."),
    "rename": ("kdstudy.cli.listing", "Give a study a title, by which commands find it."),
    "archive": ("kdstudy.cli.listing", "Leave studies out of lists; nothing is removed."),
    "delete": ("kdstudy.cli.delete", "Remove a study: its record, its MLflow runs and its files."),
    "doctor": ("kdstudy.cli.doctor", "Check versions, disk, credentials, servers and nodes."),
    "ui": ("kdstudy.cli.mlflow", "Start the MLflow UI on this store, on loopback."),
    "transfers": ("kdstudy.cli.plugins", "List transfer methods, or document one."),
    "policies": ("kdstudy.cli.plugins", "List learning-rate policies, or document one."),
    "models": ("kdstudy.cli.plugins", "List networks, or document one."),
    "datasets": ("kdstudy.cli.plugins", "List data sets, or document one."),
    "augmentations": ("kdstudy.cli.plugins", "List changes of training images, or document one."),
    "samplers": ("kdstudy.cli.plugins", "List search algorithms, or document one."),
    "optimizers": ("kdstudy.cli.plugins", "List optimizers, or document one."),
    "schedules": ("kdstudy.cli.plugins", "List learning-rate schedules, or document one."),
    "pruners": ("kdstudy.cli.plugins", "List rules that stop trials early, or document one."),
}


class LazyGroup(click.Group):
    """Imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is called; of a name that is none, say which is near."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no command is called '{args[0]}'; {did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin so, importing no command."""
        found = [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list from the table above, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kdstudy")
@click.option("--debug", is_flag=True, help="Show the traceback of errors; also after the command.")
def cli(debug: bool) -> None:
    """Hyper-parameter studies of knowledge distillation with layer-wise learning rates.

    `init` writes a study file; look at it with `check`, then `run` it. Where a command takes an ID, a unique prefix is
    enough, and without one it takes the latest study.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]  # wherever it stands
    forget_options()
    try:
        with _log_on_stderr(logging.DEBUG if "--debug" in arguments else logging.INFO):
            result: Any = cli.main(args=arguments, prog_name="kdstudy", standalone_mode=False)
    except click.exceptions.Abort:
        return _interrupted()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return _interrupted()
    except KdstudyError as error:
        if debug:
            raise
        for line in str(error).splitlines():
            click.echo(f"error: {complete(line, cli)}", err=True)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return result if isinstance(result, int) else 0


@contextlib.contextmanager
def _log_on_stderr(shown: int) -> Iterator[None]:
    """Print what kdstudy logs on stderr, from a level on: progress is for whoever runs the command."""
    logger, handler = logging.getLogger("kdstudy"), _Stderr()
    handler.setFormatter(_Line())
    propagate, level = logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(shown)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)


class _Stderr(logging.Handler):
    """Prints on what is stderr at that moment: a live table puts something else in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


class _Line(logging.Formatter):
    """A message as it is; warnings and errors say that they are, unless they are logged as ``plain``."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = "" if record.levelno < logging.WARNING or getattr(record, "plain", False) else record.levelname
        message = complete(super().format(record), cli)
        return f"{prefix.lower()}: {message}" if prefix else message


def _interrupted() -> int:
    click.echo("interrupted", err=True)
    return INTERRUPTED
