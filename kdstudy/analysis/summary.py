"""Summary of one study for `show`, `run` and the report: arms, best trial, importance of what was searched."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from kdstudy.errors import RecordError
from kdstudy.ledger import Ledger, StudyRecord, TrialRecord, best_of, iso
from kdstudy.results import ArmRowDocument, BestDocument, EpochRecord, ShowDocument
from kdstudy.search import STEADY_TRIALS, importance, past_trial
from kdstudy.study import ArmId, Study


def best_json(trials: Sequence[TrialRecord]) -> BestDocument | None:
    """Return the best search trial as ``run --json`` and ``show --json`` print it."""
    best = best_of(trials)
    if best is None or best.val is None:
        return None
    return {"trial": best.number, "arm": best.arm, "values": best.values, "val": best.val}


def arm_rows(study: Study, trials: Sequence[TrialRecord]) -> list[ArmRowDocument]:
    """Return one row per arm: its search and its confirmation."""
    return [_row(arm.id, [trial for trial in trials if trial.arm_id == arm.id]) for arm in study.arms]


def _row(arm: ArmId, trials: Sequence[TrialRecord]) -> ArmRowDocument:
    search = [trial for trial in trials if trial.phase == "search"]
    states, best = Counter(trial.state for trial in search), best_of(search)
    tests = [trial.test for trial in trials if trial.phase == "confirm" and trial.test is not None]
    return {
        "arm": arm.to_json(),
        "trials": len(search),
        "completed": states["completed"],
        "stopped": states["stopped"],
        "diverged": states["diverged"],
        "failed": states["failed"],
        "best": None if best is None else best.number,
        "best_val": None if best is None else best.val,
        "confirmed": len(tests),
        "test_mean": statistics.fmean(tests) if tests else None,
        "test_sd": statistics.stdev(tests) if len(tests) > 1 else None,
    }


def importances(study: Study, trials: Sequence[TrialRecord]) -> dict[str, dict[str, float]]:
    """Return the importance of each searched value by arm; arms with too few trials are left out."""
    found = {}
    for arm in study.arms:
        history = [
            past_trial(trial)
            for trial in trials
            if trial.arm == arm.name and trial.phase == "search" and trial.state in ("completed", "diverged")
        ]
        found[arm.name] = importance(study.space(arm), history)
    return {arm: shares for arm, shares in found.items() if shares}


def importance_basis(trials: int) -> str:
    """Return from how many trials an importance is estimated, and that it is rough where these are few."""
    return f"from {trials} trials" + (f"; rough below {STEADY_TRIALS}" if trials < STEADY_TRIALS else "")


def replay_yaml(trial: TrialRecord, epochs: Sequence[EpochRecord]) -> str:
    """Return the entry of ``arms.policies`` that repeats a trial's multipliers, every digit of them.

    Raises:
        RecordError: The trial's policy never set any.
    """
    updates = [[layer.multiplier for layer in epoch.layers] for epoch in epochs if epoch.layers]
    if not updates:
        raise RecordError(
            f"--trial: trial {trial.number} of {trial.study_id} has no updates to replay, its arm is {trial.arm}; "
            "name a trial of a layer-wise arm"
        )
    # The first update comes after the first interval.
    interval = next(epoch.epoch for epoch in epochs if epoch.layers)
    rows = ",\n".join(f"      [{', '.join(map(repr, factors))}]" for factors in updates)
    return f"- replay:\n    interval: {interval}\n    multipliers: [\n{rows},\n    ]\n"


def show_json(ledger: Ledger, record: StudyRecord) -> ShowDocument:
    """Return what ``show --json`` prints."""
    study, trials = record.study(), ledger.trials(record.id)
    warm = ledger.warm_start(record.id)
    return {
        "study_id": record.id,
        "name": record.name,
        "status": record.status,
        "created": iso(record.created),
        "message": record.message,
        "seed": record.seed,
        "dataset": record.dataset.to_json(),
        "teacher": record.teacher.to_json(),
        "environment": record.environment,
        "tracking": record.tracking.to_json(),
        "warm_start": None if warm is None else warm.to_json(),
        "best": best_json(trials),
        "arms": arm_rows(study, trials),
        "importance": importances(study, trials),
        "trials": [trial.to_json() for trial in trials],
    }
