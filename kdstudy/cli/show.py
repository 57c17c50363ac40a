"""``show`` and ``compare``: a study, its trials and verdicts from the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from kdstudy.cli.options import (
    TRIAL_NUMBER,
    json_option,
    plugin_option,
    print_json,
    store_options,
    studies_argument,
    study_argument,
)
from kdstudy.cli.spelling import typed
from kdstudy.cli.watch import watch_study
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.results import (
    FINISHED_STATES,
    EpochRecord,
    LayerRecord,
    ShowDocument,
    TrialDocument,
    TrialHistoryDocument,
    brief,
    csv_text,
    decimal,
    epoch_row,
    reason_of,
    table,
    trial_row,
)
from kdstudy.storage import Store
from kdstudy.study import ArmId

if TYPE_CHECKING:
    from kdstudy.analysis import Chosen

LEGEND = """\
d: divergence of the layer's maps from the teacher's, from 0 to 1
d/c: the same over its chance level; at 1 they are no closer than to the teacher's maps of other images
x: the factor on the layer's learning rate from the next epoch on"""


@click.command("show")
@study_argument
@click.option("--trial", "wanted", type=TRIAL_NUMBER, metavar="N", help="Show this trial and its epochs.")
@click.option(
    "--yaml", "as_yaml", is_flag=True, help="Print a trial (of the student to take home by default) as a study file."
)
@click.option(
    "--replay", "as_replay", is_flag=True, help="Print the trial's multipliers as the policy that replays them."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print one row per trial (with --trial: per epoch) as CSV.")
@plugin_option
@click.option("--watch", is_flag=True, help="Show the study as it runs, until no driver runs it.")
@store_options
@json_option
def show_command(  # noqa: PLR0913 - one per command-line option
    *,
    study: str,
    wanted: int | None,
    as_yaml: bool,
    as_replay: bool,
    as_csv: bool,
    watch: bool,
    store: Store,
    as_json: bool,
) -> None:
    """Show study ID: its trials, arms, what mattered; or one trial."""
    from kdstudy.analysis import chosen_trial, replay_yaml, show_json

    if as_yaml + as_replay + as_csv + as_json > 1:
        raise click.UsageError("--yaml, --replay, --csv and --json are four forms of output; choose one")
    if as_replay and wanted is None:
        raise click.UsageError("--replay prints what one trial did; name it with --trial")
    if watch and (as_yaml or as_csv or as_json or wanted is not None):
        raise click.UsageError("--watch shows a whole study, for people; leave out --trial, --yaml, --csv and --json")
    with Ledger.open(store.ledger_url) as ledger:
        record = ledger.study(ledger.resolve(study))
        if watch:
            watch_study(ledger, record)
            return
        trial = None if wanted is None else ledger.trial(record.id, wanted)
        if as_yaml:
            click.echo(_yaml(chosen_trial(ledger, record.id, wanted)), nl=False)
            return
        if as_csv:
            click.echo(_csv(ledger, ledger.trials(record.id) if trial is None else trial), nl=False)
            return
        if trial is None:
            document = show_json(ledger, record)
            print_json(document) if as_json else _show_study(document)
            return
        epochs = ledger.epochs(record.id, trial.number)
        if as_json:
            document = show_json(ledger, record)
            shown: TrialHistoryDocument = {**trial.to_json(), "history": [epoch.to_json() for epoch in epochs]}
            document["trials"] = [shown]
            print_json(document)
            return
    if as_replay:
        click.echo(replay_yaml(trial, epochs), nl=False)
    else:
        _show_trial(trial, epochs)


@click.command("compare")
@studies_argument
@click.option(
    "--baseline",
    metavar="POLICY",
    default="constant",
    show_default=True,
    help="What each arm is compared with: this policy of its transfer, or, for 'none', plain training.",
)
@plugin_option
@store_options
@json_option
def compare_command(studies: tuple[str, ...], baseline: str, store: Store, as_json: bool) -> None:
    """Compare policies by their confirmed runs; with several IDs also the gains of the studies."""
    from kdstudy.analysis import compare
    from kdstudy.report import render_comparison

    with Ledger.open(store.ledger_url) as ledger:
        ids = [ledger.resolve(study) for study in studies or ("latest",)]
        comparison = compare(ledger, ids, baseline=None if baseline == "constant" else baseline)
    if as_json:
        print_json(comparison.to_json())
    else:
        click.echo(typed(render_comparison(comparison), comparison.answers))


def _csv(ledger: Ledger, shown: Sequence[TrialRecord] | TrialRecord) -> str:
    """Return one row per trial, or per epoch of one."""
    if not isinstance(shown, TrialRecord):
        return csv_text([trial_row(trial.to_json()) for trial in shown])
    epochs = ledger.epochs(shown.study_id, shown.number)
    return csv_text([epoch_row(shown.to_json(), epoch.to_json()) for epoch in epochs])


def _yaml(chosen: Chosen) -> str:
    from kdstudy.study import TrialConfig

    if chosen.why:
        click.echo(f"trial {chosen.trial.number} ({chosen.trial.arm}); {chosen.why}", err=True)
    return TrialConfig.from_json(chosen.trial.config).to_yaml()


def _show_study(document: ShowDocument) -> None:
    from kdstudy.analysis import importance_basis

    message = f" ({document['message']})" if document["message"] else ""
    click.echo(f"{document['study_id']}: {document['status']}, created {document['created']}{message}")
    teacher, data = document["teacher"], document["dataset"]
    if teacher:
        test = "" if "test" not in teacher else f", test {teacher['test']:.4f}"
        click.echo(
            f"teacher: validation {teacher['val']:.4f}{test}; data: {data['name']}, {data['train']} training and "
            f"{data['val']} validation images"
        )
    if document["warm_start"]:
        click.echo(f"warm start: from {document['warm_start']['study_id']}")
    if document["trials"]:
        click.echo(f"\n{_trials_table(document['trials'])}")
    click.echo()
    click.echo(
        table(
            ["arm", "trials", *FINISHED_STATES, "best", "val", "seeds", "test", "sd"],
            [
                [
                    ArmId.from_json(row["arm"]).name,
                    str(row["trials"]),
                    *(str(row[state]) for state in FINISHED_STATES),
                    "-" if row["best"] is None else str(row["best"]),
                    decimal(row["best_val"]),
                    str(row["confirmed"]),
                    decimal(row["test_mean"]),
                    decimal(row["test_sd"]),
                ]
                for row in document["arms"]
            ],
        )
    )
    if document["best"] is not None:
        best = document["best"]
        click.echo(f"\nbest trial by validation: {best['trial']}, {best['arm']}, {best['val']:.4f}")
        for path, value in best["values"].items():
            click.echo(f"  {path}: {brief(value)}")
    for arm, shares in document["importance"].items():
        mattered = ", ".join(f"{path} {share:.0%}" for path, share in shares.items())
        click.echo(f"parameter importance in {arm} ({importance_basis(_rated(document, arm))}): {mattered}")


def _rated(document: ShowDocument, arm: str) -> int:
    """Return from how many trials an arm's importance is estimated."""
    own = [trial for trial in document["trials"] if ArmId.from_json(trial["arm"]).name == arm]
    return sum(trial["phase"] == "search" and trial["state"] in ("completed", "diverged") for trial in own)


def _trials_table(trials: Sequence[TrialDocument]) -> str:
    """Return one line per trial, with what it ran with and, of a failed one, why."""
    reasons = any(trial["error"] for trial in trials)
    return table(
        ["trial", "search", "phase", "arm", "state", "val", "test", "seconds", "values", *["reason"] * reasons],
        [
            [
                str(trial["trial"]),
                str(trial["search"]),
                trial["phase"] + (f" seed {trial['index']}" if trial["phase"] == "confirm" else ""),
                ArmId.from_json(trial["arm"]).name,
                trial["state"],
                decimal(trial["val"]),
                decimal(trial["test"]),
                decimal(trial["seconds"], 1),
                ", ".join(f"{path.rpartition('.')[2]} {brief(value)}" for path, value in trial["values"].items()),
                *[reason_of(trial["error"])] * reasons,
            ]
            for trial in trials
        ],
    )


def _show_trial(trial: TrialRecord, epochs: Sequence[EpochRecord]) -> None:
    click.echo(
        f"trial {trial.number}: {trial.phase}, {trial.arm}, {trial.state}, data_seed {trial.data_seed}, "
        f"init_seed {trial.init_seed}"
    )
    for path, value in trial.values.items():
        click.echo(f"  {path}: {brief(value)}")
    names = list(dict.fromkeys(layer.layer for epoch in epochs for layer in epoch.layers))
    columns = [f"{name} d, d/c, x" for name in names]
    rows = []
    for epoch in epochs:
        updated = {layer.layer: layer for layer in epoch.layers}
        rows.append(
            [
                str(epoch.epoch),
                decimal(epoch.loss),
                decimal(epoch.val),
                f"{epoch.rate:.3g}",
                *(_layer_text(updated.get(name)) for name in names),
            ]
        )
    click.echo()
    click.echo(table(["epoch", "loss", "val", "rate", *columns], rows))
    if names:
        click.echo(LEGEND)
    click.echo(f"\nval {decimal(trial.val)}, test {decimal(trial.test)}, weights {trial.weights_sha256 or '-'}")
    if trial.error:
        click.echo(f"\n{trial.error}")


def _layer_text(layer: LayerRecord | None) -> str:
    """Return divergence, the same over its chance level, and multiplier where the controller updated."""
    if layer is None:
        return ""
    over = decimal(layer.divergence / layer.chance if layer.chance else None, 2)
    return f"{layer.divergence:.4f}, {over}, {layer.multiplier:.3f}"
