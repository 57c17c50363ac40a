"""A user's own guess as a trial: which arms have its values, and at which place of their search it is tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdstudy.errors import StudyError, did_you_mean
from kdstudy.ledger import Guess, TrialRecord
from kdstudy.search.budget import budget_of
from kdstudy.study import Arm, Choice, Int, Range, Study, flow_text


def place_guess(
    study: Study,
    values: Mapping[str, Any],
    *,
    trials: Sequence[TrialRecord],
    known: Sequence[Guess],
    searches: int,
) -> list[Guess]:
    """Return the guess at the next free place of every search of each arm that searches all of its values.

    The place, and with it the trial's number, seed and what later proposals see, is fixed by what the record holds now,
    so that a study resumed at any time runs the same trials. A guess takes the place of a proposal: the arm's budget
    stays what it is.

    Args:
        study: The study.
        values: By path, or by the end of one where an arm has one such path.
        trials: Its search trials so far.
        known: Its guesses so far.
        searches: It has in all.

    Raises:
        StudyError: No arm searches these values, one lies outside a range, or no place is left.
    """
    named = {arm.name: _paths(study, arm, values) for arm in study.arms}
    arms = [arm for arm in study.arms if None not in named[arm.name].values()]
    if not arms:
        raise StudyError([_nowhere(study, values, named)])
    filled = {arm.name: _filled(study, arm, values, named[arm.name]) for arm in arms}
    budget, found = budget_of(study), []
    for search in range(searches):
        for arm in arms:
            own = [trial for trial in trials if (trial.arm, trial.search) == (arm.name, search)]
            guessed = [guess for guess in known if (guess.arm, guess.search) == (arm.name, search)]
            taken = [trial.index for trial in own] + [guess.index for guess in guessed]
            index = max(taken, default=-1) + 1
            if budget.last(index + 1) > index and not (own and budget.is_over(own)):
                found.append(Guess(arm.name, search, index, filled[arm.name]))
    if not found:
        raise StudyError(
            [f"--values: {', '.join(arm.name for arm in arms)} have no trial left; run a study with a larger budget"]
        )
    return found


def _paths(study: Study, arm: Arm, values: Mapping[str, Any]) -> dict[str, str | None]:
    """Return which searched path of an arm each name means; None where it means none.

    Raises:
        StudyError: One means several.
    """
    space, found = study.space(arm), {}
    for name in values:
        meant = [name] if name in space else [path for path in space if path.endswith(f".{name}")]
        if len(meant) > 1:
            raise StudyError([f"--values: '{name}' means {' and '.join(meant)} in {arm.name}; write the whole path"])
        found[name] = meant[0] if meant else None
    return found


def _filled(study: Study, arm: Arm, values: Mapping[str, Any], paths: Mapping[str, str | None]) -> dict[str, Any]:
    space, problems, found = study.space(arm), [], {}
    for name, value in values.items():
        path = paths[name]
        assert path is not None
        if space[path].contains(value):
            found[path] = _as_searched(space[path], value)
        else:
            problems.append(
                f"--values: {path} of {arm.name} is searched in {flow_text(space[path].to_yaml())}, got "
                f"{flow_text(value)}; choose a value inside"
            )
    if problems:
        raise StudyError(problems)
    return found


def _as_searched(span: Range, value: Any) -> Any:
    """Return a value as samplers propose it: a real number where real numbers are searched."""
    return value if isinstance(span, Choice | Int) else float(value)


def _nowhere(study: Study, values: Mapping[str, Any], named: Mapping[str, Mapping[str, str | None]]) -> str:
    searched = list(dict.fromkeys(path for arm in study.arms for path in study.space(arm)))
    unknown = [name for name in values if all(paths[name] is None for paths in named.values())]
    if unknown:
        return f"--values: nothing is searched under '{unknown[0]}'; {did_you_mean(unknown[0], searched)}"
    return f"--values: no arm searches all of {', '.join(values)}; enqueue them one by one"
