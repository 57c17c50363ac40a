"""Studies with a confirmation of made-up scores, recorded as a driver records them, without training anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kdstudy.ledger import DatasetInfo, Ledger, StudyRecord, TeacherInfo, TrialRecord
from kdstudy.results import TrialResult
from kdstudy.study import ArmId, Study, parse_study

TEXT = """\
name: NAME
seed: SEED
data: {name: digits}
teacher: {model: resnet8, epochs: 1}
student: {model: resnet8}
train: {epochs: 2, batch_size: 32, base_lr: {log: [0.01, 0.1]}}
arms: {transfers: [TRANSFERS], policies: [POLICIES]}
search: {trials_per_arm: 1, sampler: randomTOGETHER}
confirm: {CONFIRM}
"""
ID = "digits-00000001"
SECONDS = 3.0
"""What the only epoch of a trial that completed took."""

Score = float | str
"""What a run scored, or the state in which it is or ended instead."""
Arms = Mapping[str, Sequence[Sequence[Score] | None]]
"""Of each arm, for each search, the scores by seed; None where the arm has no pick."""


def study_of(arms: Arms, confirm: str, seed: int = 7, *, together: bool = False) -> Study:
    """Return a study of these arms' transfers and policies."""
    ids = [ArmId.parse(name) for name in arms]
    policies = dict.fromkeys(arm.policy for arm in ids)
    parts = {
        "NAME": "digits",
        "SEED": str(seed),
        "TRANSFERS": ", ".join(dict.fromkeys(arm.transfer for arm in ids)),
        "POLICIES": ", ".join(f"{name}: {{interval: 1}}" if name == "layerwise" else name for name in policies),
        "TOGETHER": ", together: [train.base_lr]" if together else "",
        "CONFIRM": confirm,
    }
    text = TEXT
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return parse_study(text, "study.yaml")


def record(
    ledger: Ledger,
    arms: Arms,
    confirm: str | None = None,
    *,
    study_id: str = ID,
    seed: int = 7,
    together: bool = False,
    **fields: Any,
) -> str:
    """Record a finished study with one search trial of each arm and search, and these confirmation runs.

    Args:
        ledger: Where.
        arms: The scores.
        confirm: Section ``confirm``; None: it declares all that there is.
        study_id: Its ID.
        seed: Its seed.
        together: Whether `search.together` names the learning rate.
        fields: Others of its record.

    Returns:
        Its ID.
    """
    searches = max((len(runs) for runs in arms.values()), default=1)
    seeds = max((len(run) for runs in arms.values() for run in runs if run is not None), default=0)
    study = study_of(arms, confirm or f"searches: {searches}, seeds: {seeds}", seed, together=together)
    known = {"status": "finished", "dataset": DatasetInfo("digits", num_classes=10), "teacher": TeacherInfo(test=0.98)}
    asked = {
        "searches": searches if searches > study.confirm.searches else None,
        "seeds": seeds if seeds > study.confirm.seeds else None,
    }
    ledger.create_study(replace(StudyRecord.of(study, {}), id=study_id, **{**known, **fields}))
    ledger.update_study(study_id, **asked)
    number = 0
    for phase in ("search", "confirm"):
        for arm in map(ArmId.parse, arms):
            for search, run in enumerate(arms[arm.name]):
                scores: Sequence[Score] = [0.99] if phase == "search" else run or ()
                for index, score in enumerate(scores):
                    later = search >= study.confirm.declared or (phase == "confirm" and index >= study.confirm.seeds)
                    seed_of_run = 100 * search + index
                    trial = TrialRecord(
                        study_id, number, phase, arm, index, seed_of_run, seed_of_run,
                        search=search, exploratory=later,
                    )  # fmt: skip
                    ledger.add_trial(trial)
                    end(ledger, trial, score)
                    number += 1
    return study_id


def end(ledger: Ledger, trial: TrialRecord, score: Score) -> None:
    """Let a trial end with a score or in a state, or run on."""
    if isinstance(score, float):
        test = score if trial.phase == "confirm" else None
        ledger.finish_trial(trial.study_id, trial.number, TrialResult("completed", 1, 0.5, test, seconds=SECONDS))
    elif score == "running":
        ledger.start_trial(trial.study_id, trial.number)
    else:
        ledger.finish_trial(trial.study_id, trial.number, TrialResult(score, 1))
