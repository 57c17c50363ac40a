"""What a study needs before and after its trials: teacher and data, prepared and scored on the cluster."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kdstudy.cluster import Cluster
from kdstudy.errors import DataError, ModelError, PluginError, StoreError
from kdstudy.ledger import DatasetInfo, StudyRecord, TeacherInfo
from kdstudy.results import clock
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
    )
    _raise_if_failed(found)
    _require_the_same(record, found)
    known = TeacherInfo.from_json({**record.teacher.to_json(), **found["teacher"]})
    opened.ledger.update_study(opened.id, teacher=known, dataset=DatasetInfo.from_json(found["dataset"]))
    log.info(f"teacher: validation {found['teacher']['val']:.4f}, trained in {clock(found['teacher']['seconds'])}")
    sharing = CachePlan(study, [keep_from_json(keep) for keep in found["keeps"]], found["taught"])
    for line in sharing.summary_lines():
        log.info(line)
    return opened.store.teachers / str(found["teacher"]["key"]), sharing


def _announce(study: Study) -> None:
    teacher = study.teacher
    source = f"training it for {teacher.epochs} epochs" if teacher.path is None else f"loading {teacher.path}"
    log.info(f"teacher: {teacher.model.name}, {source} (unless the store has it)")


def _raise_if_failed(found: Mapping[str, Any]) -> None:
    if "traceback" in found:
        log.info(found["traceback"])
        raise PluginError(f"preparing the study failed ({found['error']}); its traceback stands above")
    if "error" in found:
        raise (DataError if found.get("data") else ModelError)(found["error"])


def _require_the_same(record: StudyRecord, found: Mapping[str, Any]) -> None:
    """Refuse data or a teacher that are not those of the study's first driver."""
    for part, key in (("dataset", "fingerprint"), ("teacher", "sha256")):
        before = getattr(getattr(record, part), key)
        if before not in (None, found[part][key]):
            raise StoreError(
                f"{part}: its {key} is {found[part][key][:16]}, but the study started with {before[:16]}; "
                "restore the original, or start a new study"
            )


def score_teacher(opened: OpenStudy, cluster: Cluster) -> None:
    """Score the teacher's test split once students have been: difficulty is 1 minus it."""
    teacher = opened.record.teacher
    if teacher.test is not None or not opened.ledger.trials(opened.id, "confirm"):
        return
    score = cluster.score_teacher(
        opened.study.corner(opened.study.arms[0], 0), opened.store.teachers, str(teacher.key), opened.study.resources
    )
    opened.ledger.update_study(opened.id, teacher=replace(teacher, test=score))
