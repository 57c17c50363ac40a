"""The checks across fields of a study file: teacher, train, budget, search, policies; `validate` does single fields.

Every check takes what could be read and is silent where something it needs could not. Where a range stands,
a check objects only if no value of it would do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kdstudy.plugins import POLICIES, PRUNERS, SAMPLERS
from kdstudy.study.arm_id import ArmId
from kdstudy.study.diagnostics import Place, Problems, show
from kdstudy.study.plugin_spec import PluginSpec
from kdstudy.study.schema import MIN_SEARCHES
from kdstudy.study.space import Choice, Int, Range
from kdstudy.study.validate import Parsed, Reader

MAX_CORNERS = 512
MAX_TRIALS = 1_000_000
_RANGES = (*Range.__args__,)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def check_study(parsed: Parsed, reader: Reader) -> None:
    """Note everything wrong with a study beyond its single fields."""
    problems = reader.problems
    check_trial(parsed, problems)
    _check_policies(parsed, problems)
    _check_search(parsed, problems)
    _check_sampler(parsed, reader)
    _check_together(parsed, reader)
    _check_confirm(parsed, problems)


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
    _check_budget(parsed, problems)


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
    if {"path", "epochs"} <= teacher.keys():
        given = [name for name in ("path", "epochs") if teacher[name] is not None]
        if len(given) == 2:
            problems.add(place.key("epochs"), "a teacher is loaded or trained, got both path and epochs; remove one")
        if not given:
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


def _check_train(parsed: Parsed, problems: Problems) -> None:
    train, place = parsed.get("train", {}), Place().key("train")
    if "nesterov" in train and "momentum" in train and True in _ends(train["nesterov"]):
        lowest = min(_ends(train["momentum"]))
        if lowest == 0:
            problems.add(
                place.key("nesterov"),
                "Nesterov's momentum needs train.momentum greater than 0, "
                "got 0; raise momentum or write nesterov: false",
            )
    schedule = train.get("schedule")
    if isinstance(schedule, PluginSpec) and schedule.name == "multistep":
        _check_milestones(schedule.options["milestones"], place.key("schedule").key("multistep"), problems)


def _check_milestones(written: Any, place: Place, problems: Problems) -> None:
    for milestones in _ends(written) if isinstance(written, Choice) else (written,):
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
            f"above 1 must be a whole number, got {gpus}; only a share below 1 packs several trials on one GPU",
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
    corners = itertools.product(_ends(epochs), _corners(options))
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


def _check_budget(parsed: Parsed, problems: Problems) -> None:
    search, place = parsed.get("search", {}), Place().key("search")
    if not {"trials_per_arm", "budget"} <= search.keys():
        return
    budget, arms = search["budget"], _arms(parsed) * (parsed.get("confirm", {}).get("searches") or 1)
    if (search["trials_per_arm"] is None) == (budget is None):
        got = "neither" if budget is None else "both"
        remedy = "write for example trials_per_arm: 20" if budget is None else "remove one"
        problems.add(place, f"needs trials_per_arm or budget, got {got}; {remedy}")
    if budget is None:
        return
    trials, gpus = budget.get("trials"), parsed.get("resources", {}).get("gpus")
    if trials is not None and (trials != int(trials) or trials > MAX_TRIALS or (arms and trials < arms)):
        problems.add(
            place.key("budget").key("trials"),
            f"must be a whole number, at least one for each of the {arms or 1} arm(s) and searches and at most "
            f"{MAX_TRIALS}, got {show(trials)}; write for example {20 * (arms or 1)}",
        )
    if "gpu_hours" in budget and gpus == 0:
        problems.add(
            place.key("budget").key("gpu_hours"),
            "counts the hours of resources.gpus, got gpus: 0; write hours, or give the trials a GPU",
        )


def _arms(parsed: Parsed) -> int:
    arms = parsed.get("arms", {})
    return len(arms.get("transfers", ())) * len(arms.get("policies", ()))


def _trials_per_arm(parsed: Parsed) -> int | None:
    """Return the search trials of an arm; None where hours limit them, or where they could not be read."""
    search = parsed.get("search", {})
    total = (search.get("budget") or {}).get("trials")
    if total is None:
        trials: int | None = search.get("trials_per_arm")
        return trials
    shares = _arms(parsed) * (parsed.get("confirm", {}).get("searches") or 1)
    return int(total) // shares if shares else None


def _check_search(parsed: Parsed, problems: Problems) -> None:
    search, place = parsed.get("search", {}), Place().key("search")
    trials, startup = _trials_per_arm(parsed), search.get("startup")
    if trials is not None and startup is not None and startup > trials // 2:
        problems.add(
            place.key("startup"),
            f"must be at most half of {'trials_per_arm' if search.get('trials_per_arm') else 'the trials of an arm'}, "
            f"{trials // 2} of "
            f"{trials}, got {startup}; lower it, or leave it out for {min(trials // 2, 10)}",
        )
    pruner, epochs = search.get("pruner"), parsed.get("train", {}).get("epochs")
    if pruner is None or epochs is None:
        return
    object_to = getattr(PRUNERS.load(pruner.name), "problems", None)
    for objection in object_to(pruner.options, epochs=max(_ends(epochs)), trials=trials) if object_to else ():
        option, _, message = objection.partition(": ")
        problems.add(place.key("pruner").key(pruner.name).key(option), message)


def _check_sampler(parsed: Parsed, reader: Reader) -> None:
    sampler = parsed.get("search", {}).get("sampler")
    if sampler is None:
        return
    if sampler.name == "grid":
        for place, span in reader.holes.values():
            if not isinstance(span, Int | Choice):
                reader.problems.add(
                    place,
                    "the grid sampler needs ranges that can be counted, got "
                    f"{show(span.to_yaml())}; use int or choice, or another sampler",
                )
    if sampler.name == "cmaes":
        _check_numeric(parsed, reader)


def _check_together(parsed: Parsed, reader: Reader) -> None:
    """See that what policies are to go together in is searched, by every policy of a transfer, without learning."""
    search, place = parsed.get("search", {}), Place().key("search").key("together")
    paths, sampler = search.get("together") or (), search.get("sampler")
    shared = [name for name in reader.holes if not name.startswith("arms.policies.")]
    for path in paths:
        if path not in shared:
            reader.problems.add(
                place,
                f"must be searched values that the policies of a transfer share, got {show(path)}; "
                + (f"choose from {', '.join(shared)}" if shared else "write a range, for example for train.base_lr"),
            )
    if paths and sampler is not None and getattr(SAMPLERS.load(sampler.name), "learns", False):
        reader.problems.add(
            place,
            f"policies can try the same draws only if none depends on results, got sampler {sampler.name}; write "
            "sampler: random or grid, or leave together out",
        )


def _check_confirm(parsed: Parsed, problems: Problems) -> None:
    confirm, place = parsed.get("confirm", {}), Place().key("confirm")
    searches, at_most = confirm.get("searches"), confirm.get("at_most")
    if searches is not None and at_most is not None and at_most < max(searches, MIN_SEARCHES):
        problems.add(
            place.key("at_most"),
            f"counts the study's own {searches} too, and a verdict takes {MIN_SEARCHES}, got {at_most}; raise it, or "
            "leave it out",
        )
    arms = {
        ArmId(transfer.called, policy.called).name
        for transfer in parsed.get("arms", {}).get("transfers", ())
        for policy in parsed.get("arms", {}).get("policies", ())
    }
    for pair in confirm.get("comparisons") or () if arms else ():
        for name in pair:
            if name not in arms:
                problems.add(
                    place.key("comparisons"), f"no arm is called {show(name)}; choose from {', '.join(sorted(arms))}"
                )
        if len({*pair}) == 1:
            problems.add(place.key("comparisons"), f"must be two arms, got {show(pair[0])} twice; name another")


def _check_numeric(parsed: Parsed, reader: Reader) -> None:
    arms = parsed.get("arms", {})
    shared = [span for name, (_, span) in reader.holes.items() if not name.startswith("arms.")]
    for transfer, policy in itertools.product(arms.get("transfers", ()), arms.get("policies", ())):
        options = (*transfer.options.values(), *policy.options.values())
        own = [value for value in options if isinstance(value, _RANGES)]
        spans = shared + own
        if spans and all(isinstance(span, Choice) for span in spans):
            reader.problems.add(
                Place().key("search").key("sampler"),
                "cmaes needs a uniform, log or int "
                f"range in each arm, got only choices in {ArmId(transfer.called, policy.called).name}; "
                "use tpe",
            )


def _corners(options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the options with every range replaced by one of its ends, in every combination."""
    for values in itertools.product(*(_ends(value) for value in options.values())):
        yield dict(zip(options, values, strict=True))


def _ends(value: Any) -> tuple[Any, ...]:
    return value.ends() if isinstance(value, _RANGES) else (value,)
