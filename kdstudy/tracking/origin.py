"""Where a run comes from: the environment and the data of its study, logged to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdstudy.ledger import StudyRecord, git_state

if TYPE_CHECKING:
    from mlflow import MlflowClient

# What MLflow shows of a data set.
_PROFILE = ("train", "val", "num_classes", "channels", "height", "width", "multilabel")


def log_environment(client: MlflowClient, run_id: str, record: StudyRecord) -> None:
    """Write the environment, and the uncommitted changes as a patch of their own."""
    if not record.environment:
        return
    state = git_state(record.environment)
    diff = state.get("diff") if state else None
    if diff:
        client.log_text(run_id, diff, "git.diff")
    git = {name: _without_diff(part) for name, part in (record.environment.get("git") or {}).items()}
    text = json.dumps({**record.environment, "git": git}, indent=2)
    client.log_text(run_id, text + "\n", "environment.json")


def log_data(client: MlflowClient, run_id: str, record: StudyRecord) -> None:
    """Name the data set as the run's input."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    fingerprint, name = record.dataset.fingerprint, record.dataset.name or "data"
    if not fingerprint:
        return
    source = json.dumps({"name": name, "fingerprint": fingerprint})
    known = record.dataset.to_json()
    profile = json.dumps({key: known[key] for key in _PROFILE if key in known})
    dataset = Dataset(name, fingerprint[:32], "kdstudy", source, profile=profile)
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _without_diff(part: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if part is None else {key: value for key, value in part.items() if key != "diff"}
