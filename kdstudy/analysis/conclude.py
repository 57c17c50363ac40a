"""Reads from the record what a study answers: see `kdstudy.analysis.answer`."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kdstudy.analysis.answer import Answer, ArmAnswer, RanWith, TakeHome
from kdstudy.analysis.comparison import Row
from kdstudy.analysis.confirmation import Confirmation
from kdstudy.analysis.family import Pair, family_of
from kdstudy.analysis.lost import Lost, lost_of
from kdstudy.analysis.searches import PairedSearches
from kdstudy.analysis.study_warnings import Evidence, warnings_of
from kdstudy.ledger import Ledger, TrialRecord, best_of
from kdstudy.plugins import allowing
from kdstudy.study import Arm, ArmId, Study


def conclude(ledger: Ledger, confirmation: Confirmation, rows: Sequence[Row]) -> Answer:
    """Return what a study answers, with its warnings.

    Args:
        ledger: Holds the study.
        confirmation: Its confirmation runs.
        rows: Its own comparisons, judged.
    """
    study, record = confirmation.study, confirmation.record
    every = ledger.trials(record.id)
    trials = [trial for trial in every if trial.phase == "search"]
    family = family_of(study)
    answer = Answer(
        study_id=record.id,
        arms=tuple(_arm(confirmation, arm, family) for arm in study.arms),
        plain=_plain(study),
        teacher_test=record.teacher.test,
        teacher_val=record.teacher.val,
        chance=confirmation.chance,
        take_home=_take_home(confirmation, trials),
        lost=_lost(confirmation, every),
    )
    evidence = Evidence(
        confirmation,
        answer,
        rows,
        Counter((trial.arm_id, trial.search) for trial in trials),
        _moves(ledger, confirmation),
    )
    return replace(answer, warnings=tuple(warnings_of(evidence)))


def _lost(confirmation: Confirmation, trials: Sequence[TrialRecord]) -> tuple[Lost, ...]:
    if confirmation.record.status != "finished":
        return ()  # what runs may yet come through
    return tuple(lost_of([arm.id for arm in confirmation.study.arms], trials))


def _plain(study: Study) -> ArmId | None:
    return next(
        (arm.id for arm in study.arms if arm.transfer.name == "none" and arm.policy.name == "constant"),
        None,
    )


def _arm(confirmation: Confirmation, arm: Arm, family: Sequence[Pair]) -> ArmAnswer:
    scores = confirmation.of_arm(arm.id)
    baseline = next((before for before, after in family if after == arm.id), None)
    paired = PairedSearches(()) if baseline is None else confirmation.scores(baseline, arm.id, later=False)
    return ArmAnswer(
        arm=arm.id,
        baseline=baseline,
        scores=scores,
        val=_validation(confirmation, arm.id, tuple(scores)),
        won=paired.won if paired.count else None,
        compared=paired.count,
        diverged=confirmation.diverged(arm.id),
        ran_with=_ran_with(confirmation, arm, baseline, tuple(scores)),
        at_chance=sum(confirmation.at_chance(statistics.fmean(run)) for run in scores.values()),
    )


def _ran_with(
    confirmation: Confirmation, arm: Arm, baseline: ArmId | None, searches: Sequence[int]
) -> tuple[RanWith, ...]:
    """Return what the picks of an arm were, path by path; what a record lacks is left out."""
    picks = {search: confirmation.picked(arm.id, search) for search in searches}
    others = {} if baseline is None else {search: confirmation.picked(baseline, search) for search in searches}
    found = []
    for path, span in confirmation.study.space(arm).items():
        if not picks or not all(path in values for values in picks.values()):
            continue
        known = [search for search in searches if path in others.get(search, {})]
        differs = any(picks[search][path] != others[search][path] for search in known) if known else None
        found.append(RanWith(path, span, tuple(values[path] for values in picks.values()), differs))
    return tuple(found)


def _validation(confirmation: Confirmation, arm: ArmId, searches: Sequence[int]) -> float | None:
    """Return the mean over searches of the mean validation score of an arm's runs; a diverged run scores chance."""
    means = []
    for search in searches:
        vals = [confirmation.validation(trial) for trial in confirmation.declared(arm, search).values()]
        known = [val for val in vals if val is not None]
        if known:
            means.append(statistics.fmean(known))
    return statistics.fmean(means) if means else None


def _take_home(confirmation: Confirmation, searched: Sequence[TrialRecord]) -> TakeHome | None:
    """Return the student to take home; before confirmation the best of the search."""
    study = confirmation.study
    arms = [arm.id for arm in study.arms]
    needed = allowing((name for _, name in study.plugins()), confirmation.record.environment.get("plugins"))
    scored = [set(confirmation.of_arm(arm)) for arm in arms]
    # Searches hold out other images, so arms are compared over those that all of them came through.
    common = sorted(set.intersection(*filter(None, scored))) if any(scored) else []
    vals = {arm: _validation(confirmation, arm, common) for arm in arms}
    known = {arm: val for arm, val in vals.items() if val is not None}
    ranked = sorted(known, key=lambda arm: -known[arm])  # stable: the study's order among equals
    for arm in ranked:
        runs = [trial for search in common for trial in confirmation.declared(arm, search).values()]
        best = max(
            (trial for trial in runs if trial.val is not None and trial.test is not None),
            key=lambda trial: (trial.val, -trial.number),
            default=None,
        )
        if best is not None:
            return _student(best, len(common), needed)
    best = best_of(searched)
    return None if best is None else _student(best, 0, needed)


def _student(trial: TrialRecord, over: int, needed: str) -> TakeHome:
    assert trial.val is not None
    return TakeHome(trial.study_id, trial.arm_id, trial.number, trial.search, over, trial.val, trial.test, needed)


def _moves(ledger: Ledger, confirmation: Confirmation) -> Mapping[tuple[ArmId, int], float]:
    """Return how far, at most, an arm's multipliers were from 1 in the confirmation of a search.

    Of policies that say what they set: 0 for one that may act after some epochs and never did. Missing where no epoch
    is recorded, and for policies that set their multipliers once.
    """
    found = {}
    for arm in confirmation.study.arms:
        if arm.policy.name == "constant":
            continue  # its many epochs would be read in vain
        for search in confirmation.of_arm(arm.id):
            runs = confirmation.declared(arm.id, search).values()
            epochs = [epoch for trial in runs for epoch in ledger.epochs(trial.study_id, trial.number)]
            moved = [abs(layer.multiplier - 1) for epoch in epochs for layer in epoch.layers]
            if moved or (epochs and "interval" in arm.policy.options):
                found[arm.id, search] = max(moved, default=0.0)
    return found
