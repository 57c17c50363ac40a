"""What a study needs before and after its trials: teacher and data, prepared and scored on the cluster."""

from __future__ import annotations

from dataclasses import replace

from kdstudy.errors import ModelError, PluginError, StoreError
from kdstudy.ledger import DatasetInfo, Ledger, TeacherInfo
from kdstudy.results import clock
from kdstudy.runner.progress import say
from kdstudy.search import CachePlan, configs_to_measure, keep_from_json
from kdstudy.storage import Folder, Store
from kdstudy.study import Study


def prepare(study: Study, study_id: str, ledger: Ledger, store: Store) -> tuple[Folder, CachePlan]:
    """Prepare teacher and data on the cluster, see that every arm can be built.

    Returns:
        The teacher's folder, and what the trials share of its outputs.

    Raises:
        KdstudyError: The study cannot be run there, or teacher or data are not those it began with.
    """
    from kdstudy.cluster import prepare_teacher_on_cluster

    teacher = study.teacher
    source = f"training it for {teacher.epochs} epochs" if teacher.path is None else f"loading {teacher.path}"
    say(f"teacher: {teacher.model.name}, {source} (unless the store has it)")
    recorded = ledger.study(study_id)
    corners = [study.corner(arm, 0) for arm in study.arms]
    found = prepare_teacher_on_cluster(
        list(configs_to_measure(corners)), store.teachers, recorded.teacher.key, study.resources
    )
    if "traceback" in found:
        say(found["traceback"])
        raise PluginError(f"preparing the study failed ({found['error']}); its traceback stands above")
    if "error" in found:
        raise ModelError(found["error"])
    for part, key in (("dataset", "fingerprint"), ("teacher", "sha256")):
        before = getattr(getattr(recorded, part), key)
        if before not in (None, found[part][key]):
            raise StoreError(
                f"{part}: its {key} is {found[part][key][:16]}, but the study began with {before[:16]}; "
                "restore what it began with, or run the study anew"
            )
    known = TeacherInfo.from_json({**recorded.teacher.to_json(), **found["teacher"]})
    ledger.update_study(study_id, teacher=known, dataset=DatasetInfo.from_json(found["dataset"]))
    say(f"teacher: validation {found['teacher']['val']:.4f}, trained in {clock(found['teacher']['seconds'])}")
    sharing = CachePlan(study, [keep_from_json(keep) for keep in found["keeps"]], found["taught"])
    for line in sharing.summary_lines():
        say(line)
    return store.teachers / str(found["teacher"]["key"]), sharing


def score_teacher(study: Study, study_id: str, ledger: Ledger, store: Store) -> None:
    """Score the teacher's test split once students have been: difficulty is 1 minus it."""
    from kdstudy.cluster import score_teacher_on_cluster

    teacher = ledger.study(study_id).teacher
    if teacher.test is not None or not ledger.trials(study_id, "confirm"):
        return
    score = score_teacher_on_cluster(study.corner(study.arms[0], 0), store.teachers, str(teacher.key), study.resources)
    ledger.update_study(study_id, teacher=replace(teacher, test=score))
