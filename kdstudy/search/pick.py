"""What a search picks for each arm: the trial that is run again on fresh seeds and scored on test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from kdstudy.ledger import TrialRecord, best_of
from kdstudy.study import Study


def picks_of(
    study: Study, searched: Mapping[str, Sequence[TrialRecord]], is_over: Callable[[str], bool]
) -> dict[str, TrialRecord | None]:
    """Return what one search picks, by arm; arms of which that is not known yet are left out.

    Args:
        study: With `search.together`, the arms of a transfer are picked together, once all their searches are over.
        searched: Of each arm its search trials, in order of their index.
        is_over: Whether an arm's search has ended.
    """
    groups: dict[str, list[str]] = {}
    for arm in study.arms:
        groups.setdefault(arm.id.transfer if study.search.together else arm.name, []).append(arm.name)
    picks: dict[str, TrialRecord | None] = {}
    for group in groups.values():
        if all(is_over(arm) for arm in group):
            trials = [searched[arm] for arm in group]
            chosen = pick_together(trials) if study.search.together else map(pick_of, trials)
            picks |= zip(group, chosen, strict=True)
    return picks


def pick_of(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the completed trial with the highest last validation score, the earliest of equals; None for no pick.

    Where a single trial survived (was neither diverged nor failed), it is picked only if at least half of the search
    did: what only one configuration of many comes through, another search would not find again.

    Args:
        trials: One arm's trials of one search that is over.
    """
    survived = sum(trial.state in ("completed", "stopped") for trial in trials)
    if survived == 1 and 2 * survived < len(trials):
        return None
    return best_of(trials)


def pick_together(arms: Sequence[Sequence[TrialRecord]]) -> list[TrialRecord | None]:
    """Return each arm's pick where all arms tried the same draws: of the draw with the best mean score over them.

    Draws that did not complete in every arm are left out, so that no arm's luck decides for another; ties go to the
    earlier draw. Under the rule of `pick_of`, a draw that alone survived everywhere is none, unless at least half did.

    Args:
        arms: Of each arm, its trials of one search that is over, in order of their index.
    """
    draws = [draw for draw in zip(*arms, strict=False) if all(_completed(draw))]
    tried = max(map(len, arms), default=0)
    if not draws or (len(draws) == 1 and 2 * len(draws) < tried):
        return [None] * len(arms)
    best = max(draws, key=lambda draw: fmean(trial.val or 0.0 for trial in draw))
    return list(best)


def _completed(trials: Iterable[TrialRecord]) -> Iterable[bool]:
    return (trial.state == "completed" and trial.val is not None for trial in trials)
