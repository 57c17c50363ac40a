"""The student to take home in MLflow's model registry: one model per study name, one version per study.

The alias ``best`` is that of the study of that name that was created last; ``study-0123abcd`` stays with
the study whose ID ends so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdstudy.ledger import StudyRecord
from kdstudy.tracking.naming import KIND_TAG, STUDY_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

BEST = "best"


def register_student(client: MlflowClient, study: StudyRecord, run_id: str, model_id: str) -> int:
    """Make a logged student a version of the study's registered model, unless it is one; return the version.

    Args:
        client: Of the server.
        study: The study; its name is the model's.
        run_id: The study's run.
        model_id: The student's, as `log_student` returned it.
    """
    model = client.get_logged_model(model_id)
    # Its place rather than models:/ID, which MLflow would look up on the server of its global settings.
    source = str(model.artifact_location)
    if not client.search_registered_models(f"name = '{study.name}'"):
        client.create_registered_model(study.name, description=f"The students to take home of '{study.name}'.")
    versions = {str(each.source): each for each in client.search_model_versions(f"name = '{study.name}'")}
    if source not in versions:
        versions[source] = client.create_model_version(
            study.name,
            source=source,
            run_id=run_id,
            model_id=model_id,
            tags={STUDY_TAG: study.id},
            description=f"The student to take home of {study.id}, chosen on validation.",
        )
    version = int(versions[source].version)
    client.set_registered_model_alias(study.name, f"study-{study.id[-8:]}", str(version))
    newest = _newest(client, model.experiment_id, versions.values())
    client.set_registered_model_alias(study.name, BEST, str(newest))
    return version


def forget_student(client: MlflowClient, study: StudyRecord, experiment_id: str) -> None:
    """Remove a study's version of its registered model; the last takes the model along, else `best` moves."""
    versions = client.search_model_versions(f"name = '{study.name}'")
    rest = [each for each in versions if each.tags.get(STUDY_TAG) != study.id]
    if len(rest) == len(versions):
        return
    if not rest:
        client.delete_registered_model(study.name)
        return
    for each in versions:
        if each.tags.get(STUDY_TAG) == study.id:
            client.delete_model_version(study.name, each.version)
    client.set_registered_model_alias(study.name, BEST, str(_newest(client, experiment_id, rest)))


def _newest(client: MlflowClient, experiment_id: str, versions: Iterable[ModelVersion]) -> int:
    """Return the version of the newest study, whose run starts when it was created: it may be delivered first."""
    runs = client.search_runs([experiment_id], f"tags.`{KIND_TAG}` = 'study'", order_by=["attributes.start_time DESC"])
    started = {run.info.run_id: run.info.start_time for run in runs}
    return max((started.get(each.run_id, 0), int(each.version)) for each in versions)[1]
