"""Rerun a trial from the record alone, and compare its numbers epoch by epoch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdstudy.errors import RecordError
from kdstudy.ledger import (
    DatasetInfo,
    Ledger,
    StudyRecord,
    TeacherInfo,
    TrialRecord,
    capture_environment,
    environment_differences,
)
from kdstudy.plugins import source_changes, tell_places
from kdstudy.results import (
    DifferenceDocument,
    EpochRecord,
    ReproductionDocument,
    ReproductionVerdict,
    TrialResult,
    weights_changed,
)
from kdstudy.storage import Folder, Store, require_download_inside
from kdstudy.study import TrialConfig
from kdstudy.trial import dataset_of, find_teacher, open_teacher, run_trial, students_weights, teacher_folder

DEFAULT_TOLERANCE = 1e-3
"""What still counts as ``within_tolerance`` where the user names no tolerance."""


@dataclass(frozen=True)
class Reproduction:
    """How a rerun compares with the record.

    Args:
        study_id: The study.
        trial: The trial's number.
        verdict: ``identical`` (every number and the weights, bit for bit), ``within_tolerance``, or ``differs``.
        epochs_compared: Epochs present in both.
        max_abs_difference: Largest difference of any recorded number; None where none could be compared.
        weights_identical: Whether the hashes of the final students agree; None where the record has none.
        differences: Fields of the environment, the data or the teacher that differ: field, recorded, here.
        tolerance: Largest difference that is ``within_tolerance``.
        deterministic: Whether the trial was to be repeated bit for bit (``numerics.deterministic`` and ``packs``).
    """

    study_id: str
    trial: int
    verdict: ReproductionVerdict
    epochs_compared: int
    max_abs_difference: float | None
    weights_identical: bool | None
    differences: tuple[DifferenceDocument, ...]
    tolerance: float
    deterministic: bool

    def to_json(self) -> ReproductionDocument:
        """Return what ``reproduce --json`` prints."""
        return {
            "study_id": self.study_id,
            "trial": self.trial,
            "verdict": self.verdict,
            "epochs_compared": self.epochs_compared,
            "max_abs_difference": self.max_abs_difference,
            "weights_identical": self.weights_identical,
            "differences": list(self.differences),
            "tolerance": self.tolerance,
            "deterministic": self.deterministic,
        }


class _EnoughError(Exception):
    """The recorded epochs have been repeated; the trial was stopped there."""


def reproduce_trial(
    ledger: Ledger,
    store: Store,
    trial: TrialRecord,
    *,
    tolerance: float | None = None,
    listen: Callable[[EpochRecord], None] = lambda _: None,
) -> Reproduction:
    """Rerun ``trial`` in this process.

    Args:
        ledger: The record.
        store: Holds the teacher; one that is gone is trained again.
        trial: A finished trial that did not fail.
        tolerance: Largest difference of any number that is ``within_tolerance``; None for `DEFAULT_TOLERANCE`.
        listen: Called with each epoch's record.

    Raises:
        RecordError: The trial has no result to compare with.
    """
    if trial.state not in ("completed", "stopped", "diverged"):
        raise RecordError(
            f"trial {trial.number}: is {trial.state}, so there is no result to repeat; choose another --trial"
        )
    study = ledger.study(trial.study_id)
    tell_places(study.environment.get("plugins"))
    config = TrialConfig.validated(trial.config, trial.study_id)
    allowed = DEFAULT_TOLERANCE if tolerance is None else tolerance
    alone = config.numerics.packs == "turns" or trial.phase == "confirm"
    repeats = config.numerics.deterministic and alone
    if config.data.download:
        require_download_inside(trial.study_id, config.data.root, store.local)
    found = list(environment_differences(study.environment, capture_environment()))
    found += code_differences(study)
    folder = teacher_folder(config, store.teachers, study.teacher.key)
    found += _inputs_differ(study.dataset, study.teacher, config, folder)
    if any(difference["field"].startswith(("data.", "teacher.", "weights.")) for difference in found):
        return Reproduction(trial.study_id, trial.number, "differs", 0, None, None, tuple(found), allowed, repeats)
    records, result = _rerun(config, trial, folder, listen)
    found += [
        {"field": f"numerics.{name}", "recorded": value, "here": result.numerics.get(name)}
        for name, value in trial.numerics.items()
        if result is not None and result.numerics.get(name) != value
    ]
    judged = _judge(trial, ledger.epochs(trial.study_id, trial.number), records, result, allowed)
    return Reproduction(trial.study_id, trial.number, *judged, tuple(found), allowed, repeats)


def code_differences(study: StudyRecord) -> list[DifferenceDocument]:
    """Return the source files of a study's plug-ins, of those imported here, that are not what they were.

    Args:
        study: Older records do not tell, so nothing differs from them.
    """
    changes = source_changes(study.environment.get("plugin_sources"), (name for _, name in study.study().plugins()))
    return [
        {"field": f"plugin_sources.{file}", "recorded": recorded, "here": here}
        for file, (recorded, here) in changes.items()
    ]


def _inputs_differ(
    dataset: DatasetInfo, teacher: TeacherInfo, config: TrialConfig, folder: Folder
) -> list[DifferenceDocument]:
    data = dataset_of(config.as_study, with_test=False, decoded=False)
    if data.fingerprint != dataset.fingerprint:
        return [{"field": "data.fingerprint", "recorded": dataset.fingerprint, "here": data.fingerprint}]
    here = find_teacher(folder)
    assert here is not None
    if here.sha256 != teacher.sha256:
        return [{"field": "teacher.sha256", "recorded": teacher.sha256, "here": here.sha256}]
    return [
        {"field": f"weights.{name}", "recorded": recorded, "here": here}
        for name, recorded, here in weights_changed(teacher.weights or {}, students_weights([config], data))
    ]


def _rerun(
    config: TrialConfig, trial: TrialRecord, folder: Folder, listen: Callable[[EpochRecord], None]
) -> tuple[list[EpochRecord], TrialResult | None]:
    records: list[EpochRecord] = []

    def report(record: EpochRecord, result: TrialResult | None) -> None:
        records.append(record)
        listen(record)
        if trial.state == "stopped" and record.epoch == trial.epochs:
            raise _EnoughError

    # A cache of its own, empty: the teacher's outputs come about as they did, and nothing recorded is read. All views
    # would be too many for one trial; computed in its steps they are the same.
    with tempfile.TemporaryDirectory(prefix="kdstudy-") as cache:
        try:
            result = run_trial(
                config,
                report,
                teacher=open_teacher(folder),
                cache=None if config.cache.mode == "all_views" else Path(cache) / "study",
                with_test=trial.phase == "confirm",
            )
        except _EnoughError:
            return records, None
    return records, result


def _judge(
    trial: TrialRecord,
    recorded: Sequence[EpochRecord],
    here: Sequence[EpochRecord],
    result: TrialResult | None,
    tolerance: float,
) -> tuple[ReproductionVerdict, int, float, bool | None]:
    """Return the verdict, the epochs compared, the largest difference, and whether the weights are the same."""
    pairs = list(zip(recorded, here, strict=False))
    gaps = [gap for old, new in pairs for gap in _gaps(old.numbers(), new.numbers())]
    if result is not None:
        gaps += list(_gaps({"val": trial.val, "test": trial.test}, {"val": result.val, "test": result.test}))
    same_shape = len(recorded) == len(here) and None not in gaps
    largest = max((gap for gap in gaps if gap is not None), default=0.0)
    weights = None
    if result is not None and trial.weights_sha256 is not None:
        weights = result.weights_sha256 == trial.weights_sha256
    verdict: ReproductionVerdict = "differs"
    if same_shape and largest == 0.0 and weights is not False:
        verdict = "identical"
    elif same_shape and largest <= tolerance:
        verdict = "within_tolerance"
    return verdict, len(pairs), largest, weights


def _gaps(old: Any, new: Any) -> Iterator[float | None]:
    """Yield the difference of each pair of numbers; None where the two are not of the same shape."""
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old.keys() == new.keys():
        for key, value in old.items():
            if key == "chance" and value is None:
                continue  # earlier versions did not measure it
            yield from _gaps(value, new[key])
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for mine, theirs in zip(old, new, strict=True):
            yield from _gaps(mine, theirs)
    elif isinstance(old, int | float) and isinstance(new, int | float):
        yield abs(old - new)
    else:
        yield 0.0 if old == new else None
