"""Remove what MLflow has of one study."""

from __future__ import annotations

import shutil
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from kdstudy.ledger import StudyRecord
from kdstudy.storage import inside
from kdstudy.tracking.model_registry import forget_student
from kdstudy.tracking.naming import STUDY_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel


def delete_runs(client: MlflowClient, study: StudyRecord, artifacts: Path) -> None:
    """Mark a study's runs and models deleted, remove its model versions, and what lies of them in the store.

    Args:
        client: Of the server.
        study: The study; an experiment that is not there holds nothing of it.
        artifacts: The store's folder of artifacts: whatever the database says, nothing outside is removed.
    """
    experiment = client.get_experiment_by_name(study.name)
    if experiment is None:
        return
    forget_student(client, study, experiment.experiment_id)
    ids, places, query = set(), [], f"tags.`{STUDY_TAG}` = '{study.id}'"
    while runs := client.search_runs([experiment.experiment_id], query, max_results=1000):
        for run in runs:
            ids.add(run.info.run_id)
            places.append(str(run.info.artifact_uri).removesuffix("/artifacts"))
            client.delete_run(run.info.run_id)
    for model in _models(client, experiment.experiment_id):
        if model.source_run_id in ids:
            places.append(str(model.artifact_location).removesuffix("/artifacts"))
            client.delete_logged_model(model.model_id)
    for place in places:
        parts = urllib.parse.urlsplit(place)
        folder = Path(urllib.request.url2pathname(parts.path))
        if parts.scheme in ("", "file") and artifacts in folder.parents and inside(folder, artifacts):
            shutil.rmtree(folder, ignore_errors=True)


def _models(client: MlflowClient, experiment_id: str) -> list[LoggedModel]:
    page = client.search_logged_models([experiment_id])
    found = list(page)
    while page.token:
        page = client.search_logged_models([experiment_id], page_token=page.token)
        found += page
    return found
