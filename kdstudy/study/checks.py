"""The checks across fields of a study file: teacher, train, budget, search, policies; `validate` does single fields.

Every check takes what could be read and is silent where something it needs could not. Where a range stands,
a check objects only if no value of it would do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kdstudy.plugins import OPTIMIZERS, POLICIES
from kdstudy.study.diagnostics import Place, Problems, show
from kdstudy.study.plugin_spec import PluginSpec
from kdstudy.study.rank_checks import check_ranks
from kdstudy.study.search_checks import check_budget, check_search
from kdstudy.study.space import Choice, ends_of
from kdstudy.study.validate import Parsed, Reader

MAX_CORNERS = 512
_SOURCES = ("path", "epochs", "head_epochs")
"""Keys that say where the teacher's last weights come from."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def check_study(parsed: Parsed, reader: Reader) -> None:
    """Note everything wrong with a study beyond its single fields."""
    problems = reader.problems
    check_trial(parsed, problems)
    if not reader.recorded:
        check_ranks(parsed, problems)
        _check_packs(parsed, problems)
    _check_policies(parsed, problems)
    check_search(parsed, reader)


def check_trial(parsed: Parsed, problems: Problems) -> None:
    """Note everything wrong with one trial, or with what all trials of a study share."""
    check_recorded(parsed, problems)
    _check_data(parsed, problems)
    _check_train(parsed, problems)


def check_recorded(parsed: Parsed, problems: Problems) -> None:
    """Note what is wrong with a trial or a study that was checked when it was recorded. Asks no plug-in."""
    _check_name(parsed, problems)
    _check_teacher(parsed, problems)
    _check_resources(parsed, problems)
    check_budget(parsed, problems)


def _check_name(parsed: Parsed, problems: Problems) -> None:
    if "name" in parsed and not _NAME.fullmatch(parsed["name"]):
        problems.add(
            Place().key("name"),
            "must be 1 to 63 letters, digits, '.', '_' or '-', the first a "
            f"letter or digit, got {show(parsed['name'])}; write for example my-study",
        )


def _check_data(parsed: Parsed, problems: Problems) -> None:
    data = parsed.get("data", {})
    if "name" not in data:
        return
    place = Place().key("data")
    reader = Reader(problems)
    if "options" not in data:
        reader.options("data set", data["name"], {}, place.key("name"), ranged=False)
        return
    if reader.options("data set", data["name"], {}, place.key("name"), ranged=False) is None:
        return
    options = reader.options("data set", data["name"], data["options"], place.key("options"), ranged=False)
    if options is not None:
        data["options"] = options


def _check_teacher(parsed: Parsed, problems: Problems) -> None:
    teacher, place = parsed.get("teacher", {}), Place().key("teacher")
    if {*_SOURCES, "model"} <= teacher.keys():
        given = [name for name in _SOURCES if teacher[name] is not None]
        if len(given) > 1:
            problems.add(
                place.key(given[1]), f"a teacher is loaded or trained, got both {given[0]} and {given[1]}; remove one"
            )
        if not given and not _may_have_weights(teacher["model"]):
            problems.add(
                place,
                "needs path or epochs, got neither; write epochs: 20 to train it here, or "
                "path: weights.safetensors to load it",
            )
    if {"mean", "std"} <= teacher.keys() and (teacher["mean"] is None) != (teacher["std"] is None):
        missing, given_name = ("mean", "std") if teacher["mean"] is None else ("std", "mean")
        problems.add(
            place.key(given_name),
            f"mean and std go together, got {given_name} alone; add {missing}, one number per channel",
        )
    elif teacher.get("mean") and teacher.get("std") and len(teacher["mean"]) != len(teacher["std"]):
        problems.add(
            place.key("std"),
            "mean and std need one number per channel each, got "
            f"{len(teacher['mean'])} and {len(teacher['std'])}; make them equally long",
        )


def _may_have_weights(model: PluginSpec) -> bool:
    """Say whether a network may begin with weights: it is told to, or it is the user's own, which may do anything."""
    return ":" in model.name or model.options.get("weights", "none") != "none"


def _check_train(parsed: Parsed, problems: Problems) -> None:
    train, place = parsed.get("train", {}), Place().key("train")
    if "nesterov" in train and "momentum" in train and True in ends_of(train["nesterov"]):
        lowest = min(ends_of(train["momentum"]))
        if lowest == 0:
            problems.add(
                place.key("nesterov"),
                "Nesterov's momentum needs train.momentum greater than 0, "
                "got 0; raise momentum or write nesterov: false",
            )
    if "optimizer" in train and True in ends_of(train.get("nesterov", False)):
        written = train["optimizer"]
        for spec in written.filled or () if isinstance(written, Choice) else (written,):
            if spec.name != "sgd" and not OPTIMIZERS.takes(spec.name, "nesterov"):
                problems.add(
                    place.key("nesterov"),
                    f"is of sgd's momentum, and '{spec.name}' has none such; write nesterov: false",
                )
    if {"epochs", "warmup_epochs"} <= train.keys():
        longest, fewest = max(ends_of(train["warmup_epochs"])), min(ends_of(train["epochs"]))
        if longest >= fewest:
            problems.add(
                place.key("warmup_epochs"),
                f"must be fewer than train.epochs, {fewest}, got {longest}; lower it or train longer",
            )
    schedule = train.get("schedule")
    if isinstance(schedule, PluginSpec) and schedule.name == "multistep":
        _check_milestones(schedule.options["milestones"], place.key("schedule").key("multistep"), problems)


def _check_milestones(written: Any, place: Place, problems: Problems) -> None:
    for milestones in ends_of(written) if isinstance(written, Choice) else (written,):
        rising = all(early < late for early, late in itertools.pairwise([0, *milestones]))
        if not milestones or not rising:
            problems.add(
                place.key("milestones"),
                f"must be epochs in rising order, from 1, got {show(milestones)}; write for example [5, 7]",
            )


def _check_resources(parsed: Parsed, problems: Problems) -> None:
    gpus = parsed.get("resources", {}).get("gpus", 0)
    if gpus > 1 and gpus != int(gpus):
        problems.add(
            Place().key("resources").key("gpus"),
            f"must be a whole number, or a share below 1, got {gpus}; write 1, or a share to pack trials on one GPU",
        )


def _check_packs(parsed: Parsed, problems: Problems) -> None:
    """Refuse a way to run packs where there are none, and two ways to run a student's pass."""
    numerics = parsed.get("numerics", {})
    if numerics.get("packs") == "vmap" and numerics.get("graph", "off") != "off":
        problems.add(
            Place().key("numerics").key("graph"),
            f"compiles the pass of one student, got {numerics['graph']}, but numerics.packs: vmap runs several at "
            "once; leave one of them out",
        )
    elif numerics.get("packs") == "vmap" and parsed.get("resources", {}).get("pack") == "off":
        problems.add(
            Place().key("numerics").key("packs"),
            "is how the students of a pack run, got vmap, but resources.pack is off; write resources: {pack: auto}",
        )


def _check_policies(parsed: Parsed, problems: Problems) -> None:
    """Ask each policy about its options together; it objects only if no combination of values would do."""
    epochs = parsed.get("train", {}).get("epochs")
    place = Place().key("arms").key("policies")
    specs = parsed.get("arms", {}).get("policies", ())
    for position, spec in enumerate(specs):
        object_to = getattr(POLICIES.load(spec.name), "problems", None)
        if object_to is None or epochs is None:
            continue
        for objection in _shared_objections(object_to, spec.options, epochs):
            field, _, message = objection.partition(": ")
            option = field.removeprefix(f"{spec.name}.")
            before = sum(other.name == spec.name for other in specs[:position])
            steps = _steps_of(problems, place, spec.name, before)
            problems.add(Place((*steps, option), f"{place.name}.{spec.called}.{option}"), message or objection)


def _shared_objections(object_to: Callable[..., list[str]], options: Mapping[str, Any], epochs: Any) -> list[str]:
    """Return what a policy has against the first combination of ends, if it objects to each of them."""
    first: list[str] = []
    corners = itertools.product(ends_of(epochs), _corners(options))
    for number, (trained, corner) in enumerate(corners):
        objections = object_to(corner, epochs=trained)
        if not objections or number == MAX_CORNERS:
            return []
        first = first or objections
    return first


def _steps_of(problems: Problems, place: Place, name: str, before: int) -> tuple[str | int, ...]:
    """Return where in the file the entry ``name`` of a list of plug-ins stands that so many of that name precede."""
    candidates = [
        steps
        for steps in problems.lines
        if steps[:-1]
        and steps[: len(place.steps)] == place.steps
        and steps[-1] == name
        and len(steps) == len(place.steps) + 2
    ]
    return candidates[before] if before < len(candidates) else place.steps


def _corners(options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the options with every range replaced by one of its ends, in every combination."""
    for values in itertools.product(*(ends_of(value) for value in options.values())):
        yield dict(zip(options, values, strict=True))
