"""Finished studies of made-up picks, scores and multipliers, to ask what they answer; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from kdstudy.analysis import Answer, compare
from kdstudy.ledger import DatasetInfo, Ledger, StudyRecord, TeacherInfo, TrialRecord
from kdstudy.results import EpochRecord, LayerRecord, TrialResult
from kdstudy.study import Arm, Study, parse_study

TEXT = """\
name: answered
data: {name: digits}
teacher: {model: resnet8, epochs: 1}
student: {model: resnet8}
train: {epochs: 4, batch_size: 32, base_lr: BASE_LR}
arms: {transfers: [TRANSFERS], policies: [POLICIES]}
search: {PLAN}
confirm: {searches: SEARCHES, seeds: SEEDS}
"""
LR, WEIGHT = "train.base_lr", "arms.transfers.attention.weight"
GAIN = "arms.policies.layerwise.gain"
DEFAULTS = {LR: 0.1, WEIGHT: 3.0, GAIN: 0.2}
LAYERWISE = "layerwise: {interval: 1, gain: {uniform: [-0.5, 0.5]}}"
ID = "answered-00000001"


@dataclass(frozen=True)
class Made:
    """The confirmation of one arm.

    Args:
        scores: Of each search, the test scores by seed, or states; None where it has no pick.
        values: Of a path, what each search picked; others have `DEFAULTS`.
        val: The validation score of each run; a number is what to add to its test score.
        moves: Of each search, how far its multipliers go from 1; None: nothing is recorded of its epochs.
    """

    scores: Sequence[Sequence[float | str] | None]
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    val: float | Sequence[Sequence[float]] = 0.0
    moves: Sequence[float | None] | None = None


def study_of(
    searches: int,
    seeds: int,
    *,
    transfers: str = "none, {attention: {weight: {log: [1, 10]}}}",
    policies: str = "constant",
    base_lr: str = "{log: [0.01, 1.0]}",
    search: str = "trials_per_arm: 8, sampler: random",
) -> Study:
    """Return the study file that a record is made of."""
    text = TEXT
    parts = {"BASE_LR": base_lr, "TRANSFERS": transfers, "POLICIES": policies, "SEARCHES": searches, "SEEDS": seeds}
    for mark, part in {**parts, "PLAN": search}.items():
        text = text.replace(mark, str(part))
    return parse_study(text, "study.yaml")


def answer_of(
    ledger: Ledger, made: Mapping[str, Made], record: Mapping[str, Any] | None = None, **study: Any
) -> Answer:
    """Record a finished study and return what it answers; every arm of ``study`` must be made.

    Args:
        ledger: Empty.
        made: By arm.
        record: Fields of the study's record.
        study: Arguments of `study_of`.
    """
    searches = max(len(arm.scores) for arm in made.values())
    seeds = max(len(run) for arm in made.values() for run in arm.scores if run is not None)
    asked = study_of(searches, seeds, **study)
    assert {arm.name for arm in asked.arms} == set(made)
    known = {"status": "finished", "dataset": DatasetInfo("digits", num_classes=10), "teacher": TeacherInfo()}
    ledger.create_study(replace(StudyRecord.of(asked, {}), id=ID, **{**known, **(record or {})}))
    numbers = count()
    for search in range(searches):
        for arm in asked.arms:
            _confirm(ledger, asked, arm, made[arm.name], search, numbers)
    (answer,) = compare(ledger, [ID]).answers
    return answer


def _confirm(ledger: Ledger, study: Study, arm: Arm, made: Made, search: int, numbers: Any) -> None:
    values = {path: made.values[path][search] if path in made.values else DEFAULTS[path] for path in study.space(arm)}
    for index, score in enumerate(made.scores[search] or ()):
        trial = TrialRecord(ID, next(numbers), "confirm", arm.id, index, index, index, values, search=search)
        move = 0.1 if made.moves is None else made.moves[search]
        own = arm.policy.name == "layerwise"
        layers = (LayerRecord("layer1", 0.5, 0.0, 1 + move), LayerRecord("layer2", 0.5, 0.0, 1 - move)) if move else ()
        epochs = [] if move is None else [EpochRecord(1, 1.0, {}, 0.5, 1.0, 0.1, {}, layers if own else ())]
        _end(ledger, trial, score, _val(made, search, index, score), epochs)


def _val(made: Made, search: int, index: int, score: float | str) -> float | None:
    if isinstance(score, str):
        return None
    return score + made.val if isinstance(made.val, float) else made.val[search][index]


def _end(
    ledger: Ledger, trial: TrialRecord, score: float | str, val: float | None, epochs: Sequence[EpochRecord]
) -> None:
    ledger.add_trial(trial)
    for epoch in epochs:
        ledger.record_epoch(trial.study_id, trial.number, epoch)
    if isinstance(score, str):
        result = TrialResult(score, 1, error="Traceback\nKeyError: 'x'" if score == "failed" else None)
    else:
        result = TrialResult("completed", 1, val, score)
    ledger.finish_trial(trial.study_id, trial.number, result)


def warned(answer: Answer, kind: str) -> list[tuple[str | None, str]]:
    """Return arm and message of an answer's warnings of a kind."""
    found = [each.to_json() for each in answer.warnings]
    return [(each["arm"], each["message"]) for each in found if each["kind"] == kind]
