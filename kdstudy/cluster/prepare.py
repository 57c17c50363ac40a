"""What runs in Ray's processes before the trials: teacher and data are prepared, every arm is built once.

Like the trials' workers these read neither ledger nor MLflow.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from kdstudy.errors import DataError, KdstudyError
from kdstudy.plugins import TRANSFERS
from kdstudy.results import weights_together
from kdstudy.storage import Folder
from kdstudy.study import TrialConfig

_Trials = list[TrialConfig]


@final
@dataclass(frozen=True)
class ImagesToVerify:
    """Which image files of a study are to be decoded once before anything is trained.

    Args:
        searches: Those of its first searches, and of the test split.
        verified: Unless the data still have this fingerprint; None where none were verified.
    """

    searches: int
    verified: str | None = None


def prepare_in_worker(
    configs: list[dict[str, Any]],
    teachers: Folder,
    key: str | None,
    images: ImagesToVerify,
    students: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Prepare the study's teacher on the cluster, and build every arm's networks and methods once, as a Ray task.

    Args:
        configs: One trial of each arm, as `kdstudy.search.cache_plan.measured` has them.
        teachers: The store's folder of teachers.
        key: Of the teacher that the study began with; None for a new study.
        images: Which image files are to be decoded once before anything is trained.
        students: Trials with every network that may be drawn as student, whose weights are told.

    Returns:
        The ``teacher``'s and the ``dataset``'s descriptions, ``lines`` about both, and ``warnings``; what each arm
        ``keeps`` of the teacher's outputs (as `kdstudy.search.cache_plan.Keep`, None for nothing), and whether its
        trials are ``taught`` by it; or under ``error`` what the user must put right, and that nothing was trained where
        nothing was, under ``data`` whether that is the data, and the traceback of its ``cause``.
    """
    trials, others = ([TrialConfig.from_json(config) for config in each] for each in (configs, students))
    untrained = "; nothing was trained" if key is None else ""
    try:
        told = _looked_at(trials, key, images)
        untrained = ""
        return _with_teacher(trials, others, teachers, key, images, told)
    except KdstudyError as error:
        cause = traceback.format_exc() if error.__cause__ else None
        return {"error": f"{error}{untrained}", "data": isinstance(error, DataError), "cause": cause}
    except Exception as error:  # noqa: BLE001  a plug-in of the user's own may raise anything
        return {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


@final
@dataclass(frozen=True)
class Told:
    """What is said before a teacher is trained: lines, and what to beware of."""

    lines: list[str]
    warnings: list[str]


def _looked_at(trials: list[TrialConfig], key: str | None, images: ImagesToVerify) -> Told:
    """Look at all that can be wrong here before a teacher is trained; tell of the data and of its file."""
    from kdstudy import trial as parts
    from kdstudy.data import data_lines, shortages

    data = parts.dataset_of(trials[0], with_test=False)
    told = Told([*data_lines(data)], shortages(data, parts.largest_batch(trials)))
    if key is None:  # the driver may have been without the data
        inspected = parts.inspect_parts(trials)
        inspected.raise_faults()
        told.lines.extend(inspected.notes)
        told.warnings.extend(inspected.warnings)
    if data.fingerprint != images.verified:
        told.warnings.extend(parts.shared_images(trials[0]))
        parts.verify_data(trials[0], images.searches)
    return told


def _with_teacher(
    trials: _Trials, others: _Trials, teachers: Folder, key: str | None, images: ImagesToVerify, told: Told
) -> dict[str, Any]:
    from kdstudy import trial as parts
    from kdstudy.data import count_views

    data = parts.dataset_of(trials[0], with_test=False)
    views = count_views(data.augmentation) if trials[0].cache.mode == "all_views" else 0
    folder = parts.teacher_folder(trials[0], teachers, key)
    teacher = parts.find_teacher(folder)
    assert teacher is not None
    begun = parts.students_weights([*trials, *others], data)
    all_begun = weights_together([teacher.weights, begun])
    needs = [parts.preflight(trial, parts.open_teacher(folder)) for trial in trials]
    return {
        "teacher": teacher.to_json() | ({"weights": all_begun} if all_begun else {}),
        "students": begun,
        "dataset": {**parts.describe_dataset(data), "verified": images.searches},
        "lines": told.lines,
        "warnings": told.warnings,
        "keeps": [_keep(trial, each.file_bytes, views) for trial, each in zip(trials, needs, strict=True)],
        "taught": [each.teacher for each in needs],
    }


def _keep(trial: TrialConfig, file_bytes: int | None, views: int) -> dict[str, Any] | None:
    """Return what a trial keeps of the teacher's outputs, as plain values."""
    if not file_bytes:
        return None
    indifferent = sorted(TRANSFERS.load(trial.transfer.name).cache_neutral_options)
    return {"file_bytes": file_bytes, "indifferent": indifferent, "views": views}


def score_teacher_in_worker(config: dict[str, Any], teachers: Folder, key: str) -> float | None:
    """Return the teacher's test score, as a Ray task; None where it has none."""
    from kdstudy.trial import score_teacher

    return score_teacher(TrialConfig.from_json(config), teachers, key)
