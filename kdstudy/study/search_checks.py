"""The checks across the keys of `search` and `confirm`: budget, sampler, pruner, searches, comparisons."""

from __future__ import annotations

import itertools

from kdstudy.plugins import PRUNERS, SAMPLERS
from kdstudy.study.arm_id import ArmId
from kdstudy.study.diagnostics import Place, Problems, show
from kdstudy.study.search_schema import MIN_SEARCHES
from kdstudy.study.space import Choice, Int, Range, ends_of
from kdstudy.study.validate import Parsed, Reader

MAX_TRIALS = 1_000_000
_RANGES = (*Range.__args__,)


def check_search(parsed: Parsed, reader: Reader) -> None:
    """Note what is wrong with the search and the confirmation of a new study."""
    _check_startup_and_pruner(parsed, reader.problems)
    _check_sampler(parsed, reader)
    _check_together(parsed, reader)
    _check_confirm(parsed, reader.problems)


def check_budget(parsed: Parsed, problems: Problems) -> None:
    """Note what is wrong with what a search may take, of a recorded study too."""
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


def _check_startup_and_pruner(parsed: Parsed, problems: Problems) -> None:
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
    for objection in object_to(pruner.options, epochs=max(ends_of(epochs)), trials=trials) if object_to else ():
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
