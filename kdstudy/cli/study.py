"""``check`` and ``schema``: what can be said of a study file without running it."""

from __future__ import annotations

from pathlib import Path

import click

from kdstudy.cli.options import json_option, print_json, table
from kdstudy.study import Study, load_study


@click.command("check")
@click.argument("path", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--corners", is_flag=True, help="Also run one batch of every arm at both ends of its space.")
@json_option
def check_command(path: Path, corners: bool, as_json: bool) -> None:
    """Validate STUDY.yaml, plug-in options included. Nothing is created."""
    study = load_study(path)
    if corners:
        from kdstudy.corners import run_corners

        run_corners(study)
    if as_json:
        print_json(_summary(study))
        return
    click.echo(f"{path}: valid{', and its corners run' if corners else ''}")
    click.echo(
        f"{study.name}: teacher {study.teacher.model.name}, student {study.student.model.to_yaml()}, "
        f"data {study.data.name}"
    )
    rows = [
        [
            arm.name,
            str(study.search.trials_per_arm),
            str(study.confirm.seeds),
            ", ".join(path.rsplit(".", 1)[-1] for path in study.space(arm)) or "nothing",
        ]
        for arm in study.arms
    ]
    click.echo(table(["arm", "search trials", "confirmation seeds", "searched"], rows))
    click.echo(f"{_count(study)} trials of up to {study.max_epochs} epochs in all")


def _count(study: Study) -> int:
    return len(study.arms) * (study.search.trials_per_arm + study.confirm.seeds)


def _summary(study: Study) -> dict[str, object]:
    return {
        "name": study.name,
        "valid": True,
        "trials": _count(study),
        "arms": [
            {
                "transfer": arm.transfer.name,
                "policy": arm.policy.name,
                "space": {path: hole.to_yaml() for path, hole in study.space(arm).items()},
            }
            for arm in study.arms
        ],
    }


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of study files, for editors."""
    from kdstudy.study.json_schema import json_schema

    print_json(json_schema())
