"""The best student in MLflow's model registry: one model a study name, one version a study.

The alias ``best`` is the best student of the newest study of that name; ``study-0123abcd`` stays with the study whose
ID ends so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdstudy.ledger import StudyRecord
from kdstudy.tracking.describe import STUDY_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

BEST = "best"


def register_student(client: MlflowClient, study: StudyRecord, run_id: str, model_id: str) -> int:
    """Make a logged student a version of the study's registered model, unless it is one; return the version.

    Args:
        client: Of the server.
        study: The study; its name is the model's.
        run_id: The study's run.
        model_id: The student's, as `log_student` returned it.
    """
    # Its place rather than models:/ID, which MLflow would look up on the server of its global settings.
    source = str(client.get_logged_model(model_id).artifact_location)
    if not client.search_registered_models(f"name = '{study.name}'"):
        client.create_registered_model(study.name, description=f"The best students of the studies '{study.name}'.")
    versions = {str(each.source): int(each.version) for each in client.search_model_versions(f"name = '{study.name}'")}
    if source not in versions:
        made = client.create_model_version(
            study.name,
            source=source,
            run_id=run_id,
            model_id=model_id,
            tags={STUDY_TAG: study.id},
            description=f"The best student of {study.id} by validation score.",
        )
        versions[source] = int(made.version)
    version = versions[source]
    client.set_registered_model_alias(study.name, f"study-{study.id[-8:]}", str(version))
    if version == max(versions.values()):  # an older study that is delivered late does not take the alias back
        client.set_registered_model_alias(study.name, BEST, str(version))
    return version
