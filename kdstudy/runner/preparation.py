"""What a study needs before and after its trials: teacher and data, prepared and scored on the cluster."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kdstudy.cluster import Cluster, ImagesToVerify
from kdstudy.errors import DataError, ModelError, PluginError, StoreError
from kdstudy.ledger import DatasetInfo, StudyRecord, TeacherInfo
from kdstudy.results import clock, weights_changed
from kdstudy.runner.open_study import OpenStudy
from kdstudy.search import CachePlan, configs_to_measure, keep_from_json
from kdstudy.storage import Folder
from kdstudy.study import Study

log = logging.getLogger(__name__)


def prepare(opened: OpenStudy, cluster: Cluster) -> tuple[Folder, CachePlan]:
    """Prepare teacher and data on the cluster, see that every arm can be built.

    Returns:
        The teacher's folder, and what the trials share of its outputs.

    Raises:
        KdstudyError: The study cannot be run there, or teacher or data are not those it began with.
    """
    study, record = opened.study, opened.record
    _announce(study)
    found = cluster.prepare_teacher(
        list(configs_to_measure([study.corner(arm, 0) for arm in study.arms])),
        opened.store.teachers,
        record.teacher.key,
        study.resources,
        ImagesToVerify(opened.searches, _verified(opened)),
        study.student_corners(),
    )
    _raise_if_failed(found)
    _require_the_same(opened, found)
    for line in found["lines"]:
        log.info(line)
    for line in found["warnings"]:
        log.warning(line)
    known = TeacherInfo.from_json({**record.teacher.to_json(), **found["teacher"]})
    opened.ledger.update_study(opened.id, teacher=known, dataset=DatasetInfo.from_json(found["dataset"]))
    how = f"trained in {clock(found['teacher']['seconds'])}" if study.teacher.trained_epochs else "loaded"
    log.info(f"teacher: validation {found['teacher']['val']:.4f}, {how}")
    sharing = CachePlan(study, [keep_from_json(keep) for keep in found["keeps"]], found["taught"])
    for line in sharing.summary_lines():
        log.info(line)
    return opened.store.teachers / str(found["teacher"]["key"]), sharing


def _announce(study: Study) -> None:
    teacher = study.teacher
    part = "its last layer" if teacher.head_epochs else "it"
    loading = f"loading {teacher.path or 'the weights of its model'}"
    source = f"training {part} for {teacher.trained_epochs} epochs" if teacher.trained_epochs else loading
    log.info(f"teacher: {teacher.model.title}, {source} (unless the store has it)")


def _raise_if_failed(found: Mapping[str, Any]) -> None:
    if "traceback" in found:
        log.info(found["traceback"])
        raise PluginError(f"preparing the study failed ({found['error']}); its traceback stands above")
    if "error" in found:
        error = (DataError if found["data"] else ModelError)(found["error"])
        if found["cause"]:
            error.add_note(found["cause"])  # shown with the traceback, by --debug
        raise error


def _verified(opened: OpenStudy) -> str | None:
    """Return the fingerprint of the data whose images were decoded once for as many searches; None if none were."""
    data = opened.record.dataset
    return data.fingerprint if (data.verified or 0) >= opened.searches else None


def _require_the_same(opened: OpenStudy, found: Mapping[str, Any]) -> None:
    """Refuse data or a teacher that are not those of the study's first driver.

    Test images may have been repaired as long as nothing has been scored on them: no number depends on them yet.
    """
    record = opened.record
    if _only_test_differs(record, found) and not _test_scored(opened):
        log.warning("data: other test images than when the study began; nothing was scored on them, so these count")
        record = replace(record, dataset=replace(record.dataset, fingerprint=None))
    for name, began, now in weights_changed(record.teacher.weights or {}, found["students"]):
        raise StoreError(
            f"weights: '{name}' has sha256 {now[:16]} here, but the study started with {began[:16]}; "
            "restore the original file, or start a new study"
        )
    for part, key in (("dataset", "fingerprint"), ("teacher", "sha256")):
        before = getattr(getattr(record, part), key)
        if before not in (None, found[part][key]):
            raise StoreError(
                f"{part}: its {key} is {found[part][key][:16]}, but the study started with {before[:16]}; "
                "restore the original, or start a new study"
            )


def _only_test_differs(record: StudyRecord, found: Mapping[str, Any]) -> bool:
    before, now = record.dataset.fingerprints or {}, found["dataset"]["fingerprints"]
    return {part for part in {*before, *now} if before.get(part) != now.get(part)} == {"test"}


def _test_scored(opened: OpenStudy) -> bool:
    scored = (trial.state in ("completed", "diverged") for trial in opened.ledger.trials(opened.id, "confirm"))
    return opened.record.teacher.test is not None or any(scored)


def score_teacher(opened: OpenStudy, cluster: Cluster) -> None:
    """Score the teacher's test split once students have been: difficulty is 1 minus it."""
    teacher = opened.record.teacher
    if teacher.test is not None or not opened.ledger.trials(opened.id, "confirm"):
        return
    score = cluster.score_teacher(
        opened.study.corner(opened.study.arms[0], 0), opened.store.teachers, str(teacher.key), opened.study.resources
    )
    if score is None:
        log.warning("teacher: its answers to test images are not finite numbers, so it has no test score")
    else:
        opened.ledger.update_study(opened.id, teacher=replace(teacher, test=score))
