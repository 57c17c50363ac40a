"""What differs between two recorded trials, of one study or of two: read from the record alone, nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdstudy.ledger import Ledger, StudyRecord, TrialRecord, environment_differences
from kdstudy.results import FieldPair, TrialDifferenceDocument

STUDY_FIELDS = ("dataset", "teacher")
_TOLD_ABOVE = ("dataset.notes", "dataset.verified", "teacher.seconds")
"""What says nothing of the numbers."""


def trial_difference(ledger: Ledger, first: TrialRecord, second: TrialRecord) -> TrialDifferenceDocument:
    """Return what differs, part by part; a side that has no such field is None there.

    Args:
        ledger: Holds both.
        first: A trial, in any state.
        second: Another one.
    """
    studies = [ledger.study(trial.study_id) for trial in (first, second)]
    environment: list[FieldPair] = [
        {"field": each["field"], "first": each["recorded"], "second": each["here"]}
        for each in environment_differences(studies[0].environment, studies[1].environment)
    ]
    return {
        "trials": [{"study_id": trial.study_id, "trial": trial.number, "arm": trial.arm} for trial in (first, second)],
        "values": _pairs(first.values, second.values),
        "config": _pairs(_flat(first.config), _flat(second.config)),
        "inputs": _pairs(*map(_inputs, studies)),
        "environment": environment + _pairs(*map(_numerics, (first, second))),
        "layers": _pairs(*(_layers(ledger, trial) for trial in (first, second))),
        "scores": _pairs(*map(_scores, (first, second))),
    }


def _inputs(study: StudyRecord) -> dict[str, Any]:
    """Return what students learn from: data and teacher, without what says nothing of the numbers."""
    parts = _flat({name: getattr(study, name).to_json() for name in STUDY_FIELDS})
    return {field: value for field, value in parts.items() if field not in _TOLD_ABOVE}


def _numerics(trial: TrialRecord) -> dict[str, Any]:
    return {f"numerics.{name}": value for name, value in trial.numerics.items()}


def _layers(ledger: Ledger, trial: TrialRecord) -> dict[str, Any]:
    """Return what was last measured and set of each crucial layer."""
    found: dict[str, Any] = {}
    for epoch in ledger.epochs(trial.study_id, trial.number):
        for layer in epoch.layers:
            numbers = {name: value for name, value in layer.to_json().items() if name != "layer"}
            found |= {f"{layer.layer}.{name}": value for name, value in numbers.items()}
    return found


def _scores(trial: TrialRecord) -> dict[str, Any]:
    names = ("phase", "arm", "state", "epochs", "val", "test", "seconds", "weights_sha256", "error")
    return {name: getattr(trial, name) for name in names}


def _pairs(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[FieldPair]:
    return [
        {"field": field, "first": first.get(field), "second": second.get(field)}
        for field in dict.fromkeys([*first, *second])
        if first.get(field) != second.get(field)
    ]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_leaves(values, ""))


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
