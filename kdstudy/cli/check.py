"""``check`` and ``schema``: validate a study file without running it, and print its JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdstudy.cli.options import json_option, plugin_option, print_json
from kdstudy.results import table
from kdstudy.study import Study, load_study

if TYPE_CHECKING:
    from kdstudy.trial import Matched


@click.command("check")
@click.argument("path", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--corners", is_flag=True, help="Also run one batch of every arm at both ends of its space.")
@click.option("--layers", is_flag=True, help="Also show which layers of student and teacher are paired.")
@plugin_option
@json_option
def check_command(path: Path, corners: bool, layers: bool, as_json: bool) -> None:
    """Validate STUDY.yaml, plug-in options included. Nothing is created."""
    study = load_study(path)
    if corners:
        from kdstudy.trial import run_corners

        run_corners(study)
    matched = _matched(study) if layers else ()
    if as_json:
        print_json(_summary(study) | ({"layers": [each.to_json() for each in matched]} if layers else {}))
        return
    click.echo(f"{path}: valid{', and its corners run' if corners else ''}")
    click.echo(
        f"{study.name}: teacher {study.teacher.model.name}, student {study.student.model.to_yaml()}, "
        f"data {study.data.name}"
    )
    rows = [
        [
            arm.name,
            str(study.confirm.searches),
            str(study.search.trials_per_arm or "while hours last"),
            str(study.confirm.seeds),
            ", ".join(path.rsplit(".", 1)[-1] for path in study.space(arm)) or "nothing",
        ]
        for arm in study.arms
    ]
    click.echo(table(["arm", "searches", "trials each", "seeds each", "searched"], rows))
    count = _count(study)
    searched = f"{_budget(study)} of search, then {_confirmations(study)}" if count is None else count
    click.echo(f"{searched} trials of up to {study.max_epochs} epochs in all{_excess(study)}")
    for each in matched:
        _show_layers(each)


def _matched(study: Study) -> tuple[Matched, ...]:
    from kdstudy.trial import matched_layers

    return matched_layers(study)


def _show_layers(matched: Matched) -> None:
    student, teacher = _network(matched.student), _network(matched.teacher)
    click.echo(f"\ncrucial layers of student {student} and teacher {teacher}:")
    pairs, counts = matched.pairs, matched.parameters
    rows = [
        [pair.student, _size(pair.student_shape), pair.teacher, _size(pair.teacher_shape), str(count)]
        for pair, count in zip(pairs, counts, strict=False)
    ]
    click.echo(
        table(
            ["student layer", "shape", "teacher layer", "shape", "parameters"],
            [*rows, ["(head)", "", "", "", str(counts[-1])]],
        )
    )


def _network(spec: str | dict[str, dict[str, object]]) -> str:
    if isinstance(spec, str):
        return spec
    ((name, options),) = spec.items()
    return f"{name} ({', '.join(f'{option}: {value}' for option, value in options.items())})"


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _count(study: Study) -> int | None:
    trials = study.search.trials_per_arm
    return None if trials is None else len(study.arms) * study.confirm.searches * trials + _confirmations(study)


def _confirmations(study: Study) -> int:
    return len(study.arms) * study.confirm.searches * study.confirm.seeds


def _budget(study: Study) -> str:
    ((unit, amount),) = (study.search.budget or {}).items()
    return f"{amount:g} {unit.replace('_h', ' h').replace('gpu', 'GPU')}"


def _excess(study: Study) -> str:
    total = (study.search.budget or {}).get("trials")
    over = int(total) % (len(study.arms) * study.confirm.searches) if total else 0
    return f" ({over} of the budget's {total:g} search trials left over: shares are equal)" if over else ""


def _summary(study: Study) -> dict[str, object]:
    return {
        "name": study.name,
        "valid": True,
        "trials": _count(study),
        "arms": [
            {
                **arm.id.to_json(),
                "space": {path: hole.to_yaml() for path, hole in study.space(arm).items()},
            }
            for arm in study.arms
        ],
    }


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of study files, for editors."""
    from kdstudy.study import json_schema

    print_json(json_schema())
