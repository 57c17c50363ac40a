"""``reproduce``: rerun a trial from the record and compare it epoch by epoch."""

from __future__ import annotations

import click

from kdstudy.cli.options import TRIAL_NUMBER, json_option, plugin_option, print_json, store_options, study_argument
from kdstudy.ledger import Ledger
from kdstudy.results import DifferenceDocument, ReproductionDocument
from kdstudy.storage import Store


@click.command("reproduce")
@study_argument
@click.option(
    "--trial",
    "number",
    type=TRIAL_NUMBER,
    metavar="N",
    help="Trial number; by default of the student to take home.",
)
@click.option("--tolerance", type=click.FloatRange(min=0), help="Largest difference of any number that still exits 0.")
@plugin_option
@store_options
@json_option
def reproduce_command(study: str, number: int | None, tolerance: float | None, store: Store, as_json: bool) -> int:
    """Rerun the trial of study ID whose student is the one to take home (or trial N) and compare epoch by epoch.

    Exits 0 if every number and the weights are identical, else 1. Near enough is good enough with --tolerance, and for
    a trial under `numerics: {deterministic: false}` or `{packs: vmap}`, of which the same bits are not to be expected.
    """
    from kdstudy.analysis import chosen_trial, reproduce_trial
    from kdstudy.results import EpochRecord

    with Ledger.open(store.ledger_url) as ledger:
        study_id = ledger.resolve(study)
        chosen = chosen_trial(ledger, study_id, number)
        trial, why = chosen.trial, f"; {chosen.why}" if chosen.why else ""

        def listen(record: EpochRecord) -> None:
            click.echo(
                f"  epoch {record.epoch}: val {'not finite' if record.val is None else f'{record.val:.4f}'}", err=True
            )

        click.echo(f"{study_id}: running trial {trial.number} ({trial.arm}) again{why}", err=True)
        found = reproduce_trial(ledger, store, trial, tolerance=tolerance, listen=listen)
    told = found.to_json()
    if as_json:
        print_json(told)
    else:
        _tell(told)
    near_enough = found.verdict == "within_tolerance" and (tolerance is not None or not found.deterministic)
    return 0 if found.verdict == "identical" or near_enough else 1


def _tell(found: ReproductionDocument) -> None:
    weights, largest = found["weights_identical"], found["max_abs_difference"]
    hashes = {True: "the same weights", False: "other weights", None: "no weights to compare"}[weights]
    gap = "nothing to compare" if largest is None else f"largest difference {largest:.3g}"
    click.echo(f"{found['verdict'].replace('_', ' ')}: {found['epochs_compared']} epochs compared, {gap}, {hashes}")
    if not found["deterministic"]:
        allowed = f"differences of at most {found['tolerance']:.3g} count as the same"
        click.echo(f"  under its numerics (deterministic, packs) the same bits are not to be expected: {allowed}")
    for difference in found["differences"]:
        click.echo(f"  {_told(difference)}")


def _told(difference: DifferenceDocument) -> str:
    from kdstudy.analysis import code_told

    if difference["field"].startswith("plugin_sources."):
        return code_told(difference)
    return f"{difference['field']}: recorded {difference['recorded']}, here {difference['here']}"
