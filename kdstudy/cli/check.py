"""``check`` and ``schema``: validate a study file without running it, and print its JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdstudy.cli.check_data import about_data, data_document, verify_images
from kdstudy.cli.completion import study_ids
from kdstudy.cli.options import address_option, file_argument, json_option, plugin_option, print_json, store_options
from kdstudy.results import count_of, in_points, table
from kdstudy.storage import Store
from kdstudy.study import MIN_SEARCHES, Study, flow_text, load_study

if TYPE_CHECKING:
    from kdstudy.analysis import Forecast
    from kdstudy.layerwise import LayerPair
    from kdstudy.trial import Matched

FAIR_SEARCHES = 5
"""With fewer a verdict sees large differences only."""


@click.command("check")
@file_argument
@click.option("--corners", is_flag=True, help="Also train one batch of every arm at both ends of its space.")
@click.option("--layers", is_flag=True, help="Also show which layers of student and teacher are paired.")
@click.option("--images", is_flag=True, help="Also decode every image, and name those that cannot be.")
@click.option(
    "--sd",
    type=click.FloatRange(0, 100, min_open=True),
    metavar="POINTS",
    help="Also say what the study can see if the differences of single searches have this sd.",
)
@click.option(
    "--like", metavar="ID", shell_complete=study_ids, help="The same, with the sd and the times of an earlier study."
)
@address_option
@plugin_option
@store_options
@json_option
def check_command(  # noqa: PLR0913 - one per command-line option
    *,
    path: Path,
    corners: bool,
    layers: bool,
    images: bool,
    sd: float | None,
    like: str | None,
    address: str | None,
    store: Store,
    as_json: bool,
) -> None:
    """Find what is wrong with STUDY.yaml without training, and say what it will cost. Nothing is created.

    Looks at the file, the data set, the teacher's file, the layers, whether each plug-in takes its options, and whether
    this machine (or a node at --address) has what one trial takes. `run` does the same before it begins.
    """
    from kdstudy.runner import check_all

    study = load_study(path)
    found = check_all(study, str(path), address=address, folder=store.local, corners=corners)
    if images and not corners:  # which look at them as well
        verify_images(study)
    matched = _matched(study) if layers else ()
    forecast = _forecast(study, sd, like, store)
    if as_json:
        shown = {"layers": [each.to_json() for each in matched]} if layers else {}
        data = data_document(found, study)
        print_json(_summary(study) | data | shown | ({} if forecast is None else {"forecast": forecast.to_json()}))
        return
    click.echo(f"{path}: valid{', and its corners run' if corners else ''}")
    for line in about_data(found, study):
        click.echo(line)
    click.echo(
        f"{study.name}: teacher {study.teacher.model.title}, student {flow_text(study.student.model.to_yaml())}, "
        f"data {study.data.name}"
    )
    _show_arms(study)
    for line in _prospects(study, forecast):
        click.echo(line)
    for each in matched:
        _show_layers(each)


def _show_arms(study: Study) -> None:
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


def _forecast(study: Study, sd: float | None, like: str | None, store: Store) -> Forecast | None:
    """Return what the study will cost and see, where something tells how much searches differ."""
    if sd is None and like is None:
        return None
    from kdstudy.analysis import forecast_like, forecast_of
    from kdstudy.ledger import Ledger

    if like is None:
        assert sd is not None
        return forecast_of(study, sd / 100)
    with Ledger.open(store.ledger_url) as ledger:
        return forecast_like(study, ledger, like, None if sd is None else sd / 100)


def _prospects(study: Study, forecast: Forecast | None) -> Iterator[str]:
    """Yield what the study will be able to say, and what that takes."""
    searches = study.confirm.searches
    if searches < MIN_SEARCHES:
        yield (
            f"confirm.searches is {searches}: it can tell configurations apart, not policies; a verdict on a policy "
            f"takes {MIN_SEARCHES}, a fair one {FAIR_SEARCHES}"
        )
    elif searches < FAIR_SEARCHES:
        yield f"confirm.searches is {searches}: verdicts see large differences only; {FAIR_SEARCHES} are fair"
    if forecast is None:
        return
    if forecast.sd is None:
        yield (
            f"the earlier study tells no spread between searches (that takes a comparison over {MIN_SEARCHES} searches "
            "that differ), so what differences this one finds cannot be said; name another study, or say --sd POINTS"
        )
    elif forecast.comparisons and forecast.detectable is None:
        yield f"what differences it finds can be said of {MIN_SEARCHES} searches or more (confirm.searches)"
    if forecast.hours is not None:
        yield f"about {forecast.hours:.1f} hours of one slot, at the earlier study's {forecast.epoch:.2g} s an epoch"
    if forecast.detectable is not None and forecast.sd is not None:
        yield (
            f"with {searches} searches it finds a difference of {100 * forecast.detectable:.1f} points with 80% power "
            f"(sd of one search {100 * forecast.sd:.1f} points, {count_of(forecast.comparisons, 'comparison')})"
        )
    if forecast.smallest is not None and forecast.searches_needed is not None:
        yield f"{in_points(forecast.smallest)} would take {forecast.searches_needed} searches"


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
    for pair in pairs:
        if told := _made_alike(pair):
            click.echo(f"{pair.student}: {told}")


def _made_alike(pair: LayerPair) -> str:
    """Return how two outputs become maps of one grid; nothing where they are."""
    grid = _size(pair.grid)
    sides = (
        ("student", pair.student_shape, pair.student_layout),
        ("teacher", pair.teacher_shape, pair.teacher_layout),
    )
    folds = {"tokens": "folded to their grid", "channels last": "turned", "vector": "taken as a map of one position"}
    told = [f"{role}'s {layout} {folds[layout.kind]}" for role, _, layout in sides if layout.kind in folds]
    told += [
        f"{role}'s {_size(shape[1:])} averaged down to {grid}" for role, shape, _ in sides if shape[1:] != pair.grid
    ]
    return ", ".join(told)


def _network(spec: str | dict[str, dict[str, object]]) -> str:
    if isinstance(spec, str):
        return spec
    ((name, options),) = spec.items()
    return f"{name} ({', '.join(f'{option}: {flow_text(value)}' for option, value in options.items())})"


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
