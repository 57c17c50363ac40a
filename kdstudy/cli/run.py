"""``run``, ``resume`` and ``confirm``: run a study, continue it, add searches or seeds."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdstudy.cli.completion import study_ids
from kdstudy.cli.options import (
    address_option,
    file_argument,
    json_option,
    nothing_printed,
    plugin_option,
    print_json,
    store_options,
    study_argument,
)
from kdstudy.cli.spelling import complete, typed
from kdstudy.results import count_of
from kdstudy.settings import NOTIFY, scoped_environment
from kdstudy.storage import Store
from kdstudy.study import MAX_SEARCHES, load_study

if TYPE_CHECKING:
    from kdstudy.runner import StudyResult

notify_option = click.option(
    "--notify",
    metavar="COMMAND",
    help="Run this in a shell when the study ends, with KDSTUDY_ID, KDSTUDY_STATUS and KDSTUDY_VERDICT in its "
    "environment [KDSTUDY_NOTIFY].",
)
FAILED_TRIALS = 3
UNPUBLISHED = 4
MAX_SEEDS = 10_000


@click.command("run")
@file_argument
@click.option(
    "--warm-start",
    metavar="ID",
    shell_complete=study_ids,
    help="An earlier study of this store, from whose trials the search learns.",
)
@click.option("--leave", is_flag=True, hidden=True, help="Work in the store, not here: a job's folder may vanish.")
@click.option("--meant-from", type=click.Path(path_type=Path), hidden=True, help="What relative paths begin at.")
@address_option
@notify_option
@plugin_option
@store_options
@json_option
def run_command(  # noqa: PLR0913 - one per command-line option
    *,
    path: Path,
    warm_start: str | None,
    leave: bool,
    meant_from: Path | None,
    address: str | None,
    notify: str | None,
    store: Store,
    as_json: bool,
) -> int:
    """Run STUDY.yaml: teacher, search, confirmation, comparison."""
    study = load_study(path, meant_from)
    from kdstudy.runner import run_study

    with nothing_printed(), _notifying(notify):
        result = run_study(
            study,
            store,
            address=address,
            warm_start=warm_start,
            file=path,
            workplace=store.local if leave else None,
        )
    return _tell(result, as_json)


@click.command("resume")
@study_argument
@address_option
@notify_option
@plugin_option
@store_options
@json_option
def resume_command(study: str, address: str | None, notify: str | None, store: Store, as_json: bool) -> int:
    """Go on with study ID (a unique prefix or `latest` is enough) wherever it was interrupted."""
    from kdstudy.runner import resume_study

    with nothing_printed(), _notifying(notify):
        result = resume_study(study, store, address=address)
    return _tell(result, as_json)


@click.command("confirm")
@study_argument
@click.option("--searches", default=0, type=click.IntRange(0, MAX_SEARCHES), help="Further whole searches.")
@click.option(
    "--seeds", default=0, type=click.IntRange(0, MAX_SEEDS), help="Further seeds in each search, paired over arms."
)
@address_option
@notify_option
@plugin_option
@store_options
@json_option
def confirm_command(  # noqa: PLR0913 - one per command-line option
    *,
    study: str,
    searches: int,
    seeds: int,
    address: str | None,
    notify: str | None,
    store: Store,
    as_json: bool,
) -> int:
    """Repeat the search of study ID, or run further seeds of what each search picked.

    Searches tell most. Up to `confirm.at_most` of the study file they count for the verdict; others, and further seeds,
    are exploratory: the verdict stays with what the file declared, and `compare` shows both.
    """
    from kdstudy.runner import confirm_study

    with nothing_printed(), _notifying(notify):
        result = confirm_study(study, store, searches=searches, seeds=seeds, address=address)
    return _tell(result, as_json)


def _notifying(command: str | None) -> AbstractContextManager[object]:
    return nullcontext() if command is None else scoped_environment({NOTIFY: command}, override=True)


def _tell(result: StudyResult, as_json: bool) -> int:
    if as_json:
        print_json(result.to_json())
    else:
        _tell_people(result)
    if result.unpublished:
        lacks = f"warning: MLflow lacks something of {result.unpublished} runs; the record is whole, "
        click.echo(complete(f"{lacks}`kdstudy sync {result.study.id}` delivers it"), err=True)
    if as_json or not result.answer.lost:  # people have read of those above
        _tell_why(result)
    if result.counts["failed"] or result.best is None:
        return FAILED_TRIALS
    return UNPUBLISHED if result.unpublished else 0


def _tell_why(result: StudyResult) -> None:
    """Say on stderr why trials failed, for most of them and of how many; or that nothing came through."""
    for lost in result.answer.lost:
        click.echo(complete(f"warning: {lost.message}"), err=True)
    if result.answer.lost or not result.counts["failed"]:
        return
    reasons = Counter(trial.reason or "no reason known" for trial in result.trials if trial.state == "failed")
    (reason, count), number = reasons.most_common(1)[0], reasons.total()
    which = f"{number} of {count_of(len(result.trials), 'trial')}"
    same = "" if count == number else f" ({count} of them)"
    first = next(trial.number for trial in result.trials if trial.state == "failed" and trial.reason in (reason, None))
    shows = f"`kdstudy show {result.study.id} --trial {first}` shows all of it"
    click.echo(complete(f"warning: {which} failed: {reason}{same}; {shows}"), err=True)


def _tell_people(result: StudyResult) -> None:
    from kdstudy.report import render_answer, render_comparison, render_warnings
    from kdstudy.runner import searches_left

    study_id, left = result.study.id, searches_left(result.study)
    if result.comparison is not None:
        blocks = [render_comparison(result.comparison)]
    else:
        blocks = [render_warnings([warned.message for warned in result.answer.warnings]), render_answer(result.answer)]
    for block in filter(None, blocks):
        click.echo(f"\n{typed(block, [result.answer])}")
    click.echo()
    ended = ", ".join(f"{count} {state}" for state, count in result.counts.items() if count)
    click.echo(f"trials: {ended or 'none'}")
    click.echo("\nnext:")
    numerics = result.study.study().numerics
    bits = "bit for bit" if numerics.deterministic and numerics.packs == "turns" else "within a tolerance"
    commands = {
        f"report {study_id}": "answer, curves, search and cost on one page",
        f"show {study_id}": "every trial, by arm",
        f"reproduce {study_id}": f"the student to take home again, {bits}",
    }
    if left:  # of what confirm.at_most allows
        commands[f"confirm {study_id} --searches {left}"] = "search again (exploratory beyond what the file declares)"
    commands["ui"] = "the runs in MLflow"
    if result.best is None:  # no trial came through
        commands = {command: meaning for command, meaning in commands.items() if command.split()[0] in ("show", "ui")}
    for command, meaning in commands.items():
        in_full = complete(f"`kdstudy {command}`").strip("`")
        click.echo(f"  {in_full}\n    {meaning}")
    click.echo(f"\nstudy {study_id}: {result.study.status}")
