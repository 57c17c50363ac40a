"""Which trial is meant where none is named: the one whose student the answer recommends to take home."""

from __future__ import annotations

from dataclasses import dataclass

from kdstudy.analysis.answer import TakeHome
from kdstudy.analysis.compare import compare
from kdstudy.errors import RecordError
from kdstudy.ledger import Ledger, TrialRecord, best_of
from kdstudy.results import count_of

_UNCONFIRMED = "the best of the search on validation; no run has been confirmed"


@dataclass(frozen=True)
class Chosen:
    """A trial, and why it is the one.

    Args:
        trial: Which.
        why: In words, to stand in brackets; empty for a trial that was named.
    """

    trial: TrialRecord
    why: str = ""


def chosen_trial(ledger: Ledger, study_id: str, number: int | None = None) -> Chosen:
    """Return the trial of that number; without one, that of the student to take home.

    Args:
        ledger: Holds the study.
        study_id: Its full ID.
        number: As a command names it.

    Raises:
        RecordError: There is no trial of that number, or none is named and none has completed.
    """
    if number is not None:
        return Chosen(ledger.trial(study_id, number))
    trials = ledger.trials(study_id)
    best = best_of(trials)
    if best is None:
        raise RecordError(f"{study_id}: no search trial has completed; name one with --trial")
    if not any(trial.phase == "confirm" for trial in trials):
        return Chosen(best, _UNCONFIRMED)  # the answer's rule; an older record may need plug-ins to be answered
    (answer,) = compare(ledger, [study_id]).answers
    assert answer.take_home is not None
    return Chosen(ledger.trial(study_id, answer.take_home.trial), why_chosen(answer.take_home))


def require_student(trial: TrialRecord) -> None:
    """See that a trial has a student.

    Raises:
        RecordError: It has not completed.
    """
    if trial.state != "completed":
        where = f"{trial.study_id}: trial {trial.number}"
        raise RecordError(f"{where} is {trial.state} and has no student; name a completed one with --trial")


def why_chosen(student: TakeHome) -> str:
    """Return why a student is the one to take home."""
    if student.over:
        over = count_of(student.over, "search", "searches")
        return f"the student to take home: {student.arm.name} is the best arm on validation over {over}"
    return _UNCONFIRMED
