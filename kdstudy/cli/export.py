"""``export``: write a trial's student for another program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdstudy.cli.options import TRIAL_NUMBER, json_option, plugin_option, print_json, store_options, study_argument
from kdstudy.ledger import Ledger
from kdstudy.storage import Store, node_folder

if TYPE_CHECKING:
    from kdstudy.models import Format


@click.command("export")
@study_argument
@click.option(
    "--trial",
    "number",
    type=TRIAL_NUMBER,
    metavar="N",
    help="Trial number; by default of the student to take home.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["safetensors", "torch", "onnx"]),
    required=True,
    help="A directory for kdstudy.load_student, a file for torch.export.load, or an ONNX file.",
)
@click.option(
    "-o",
    "--output",
    "target",
    metavar="PATH",
    required=True,
    type=click.Path(path_type=Path),
    help="Where to write it; an existing file is replaced.",
)
@plugin_option
@store_options
@json_option
def export_command(study: str, number: int | None, form: Format, target: Path, store: Store, as_json: bool) -> None:
    """Write the student of study ID that is the one to take home (or that of trial N) for another program.

    It takes images in [0, 1], any number of them, normalises them itself and gives logits.
    """
    from kdstudy.analysis import chosen_trial, code_told, require_student, take_away

    with Ledger.open(store.ledger_url) as ledger:
        study_id = ledger.resolve(study)
        chosen = chosen_trial(ledger, study_id, number)
        record = ledger.study(study_id)
    trial, why = chosen.trial, f"; {chosen.why}" if chosen.why else ""
    require_student(trial)
    directory = (store.trial(study_id, trial.number) / "student").on_disk(node_folder())
    changed = take_away(record, trial, directory, target, form)
    for each in changed:
        click.echo(f"warning: {code_told(each)}: this student is the recorded weights in the code of today", err=True)
    if as_json:
        document = {"study_id": study_id, "trial": trial.number, "format": form, "path": str(target)}
        print_json({**document, "differences": changed})
    else:
        click.echo(f"{target}: the student of {study_id}, trial {trial.number} ({trial.arm}), as {form}{why}")
