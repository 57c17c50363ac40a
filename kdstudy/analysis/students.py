"""A recorded student for use elsewhere: what its file says of it, and whether its code is what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdstudy.analysis.reproduce import code_differences
from kdstudy.errors import ModelError
from kdstudy.ledger import StudyRecord, TrialRecord
from kdstudy.models import Format, export_student
from kdstudy.results import DifferenceDocument


def take_away(
    study: StudyRecord, trial: TrialRecord, directory: Path, target: Path, form: Format
) -> list[DifferenceDocument]:
    """Write a trial's student in another format, with all that the record says of it.

    Args:
        study: The trial's.
        trial: A completed one.
        directory: What it saved.
        target: As for `kdstudy.models.export_student`.
        form: Likewise.

    Returns:
        Source files of plug-ins used here that are not what they were when the study began.

    Raises:
        ModelError: As `kdstudy.models.export_student`; the message then names such files too.
        StoreError: The target cannot be written.
    """
    try:
        export_student(directory, target, form, about_trial(study, trial))
    except ModelError as error:
        changed = code_differences(study)
        told = "; ".join(map(code_told, changed))
        raise (ModelError(f"{error} ({told})") if changed else error) from error
    return code_differences(study)


def about_trial(study: StudyRecord, trial: TrialRecord) -> dict[str, Any]:
    """Return what the record says of a student, as plain values."""
    scores = {"val": trial.val, "test": trial.test}
    return {
        "classes": study.dataset.classes or [],
        "provenance": {
            "study_id": study.id,
            "trial": trial.number,
            "phase": trial.phase,
            "arm": trial.arm,
            **{name: score for name, score in scores.items() if score is not None},
            "weights_sha256": trial.weights_sha256,
        },
    }


def code_told(difference: DifferenceDocument) -> str:
    """Return a difference that `code_differences` found as a line."""
    field, recorded, here = difference["field"], difference["recorded"], difference["here"]
    what = "is new" if recorded is None else "is gone" if here is None else "has changed"
    return f"the plug-in's code {field.removeprefix('plugin_sources.')} {what} since the study began"
