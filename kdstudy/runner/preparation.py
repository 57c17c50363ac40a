"""What a study needs before and after its trials: teacher and data, prepared and scored on the cluster."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from kdstudy.cluster import Cluster
from kdstudy.errors import ModelError, PluginError, StoreError
from kdstudy.ledger import StudyRecord
from kdstudy.report import clock
from kdstudy.runner.open_study import OpenStudy
from kdstudy.search import CachePlan, configs_to_measure, keep_from_json
from kdstudy.storage import Folder
from kdstudy.study import Study, TrialConfig

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
        list(configs_to_measure(corner_configs(study))),
        opened.store.teachers,
        record.teacher.get("key"),
        study.resources,
    )
    _raise_if_failed(found)
    _require_the_same(record, found)
    opened.ledger.update_study(opened.id, teacher={**record.teacher, **found["teacher"]}, dataset=found["dataset"])
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
        raise ModelError(found["error"])


def _require_the_same(record: StudyRecord, found: Mapping[str, Any]) -> None:
    """Refuse data or a teacher that are not those of the study's first driver."""
    for part, key in (("dataset", "fingerprint"), ("teacher", "sha256")):
        before = getattr(record, part).get(key)
        if before not in (None, found[part][key]):
            raise StoreError(
                f"{part}: its {key} is {found[part][key][:16]}, but the study began with {before[:16]}; "
                "restore what it began with, or run the study anew"
            )


def score_teacher(opened: OpenStudy, cluster: Cluster) -> None:
    """Score the teacher's test split once students have been: difficulty is 1 minus it."""
    teacher = opened.record.teacher
    if "test" in teacher or not opened.ledger.trials(opened.id, "confirm"):
        return
    score = cluster.score_teacher(
        corner_configs(opened.study)[0], opened.store.teachers, teacher["key"], opened.study.resources
    )
    opened.ledger.update_study(opened.id, teacher={**teacher, "test": score})


def corner_configs(study: Study) -> list[TrialConfig]:
    """Return one trial of each arm: every hole filled with its lower end."""
    return [
        study.config(
            arm.name,
            {path: hole.ends()[0] for path, hole in study.space(arm).items()},
            data_seed=0,
            init_seed=0,
        )
        for arm in study.arms
    ]
