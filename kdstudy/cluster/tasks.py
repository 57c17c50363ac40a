"""Work on the teacher that runs once, as a task on the cluster, before and after the trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

from kdstudy.cluster.connection import fetch
from kdstudy.cluster.prepare import ImagesToVerify, prepare_in_worker, score_teacher_in_worker
from kdstudy.storage import Folder
from kdstudy.study import ResourcesConfig, TrialConfig


def prepare_teacher_on_cluster(
    configs: Sequence[TrialConfig],
    teachers: Folder,
    key: str | None,
    resources: ResourcesConfig,
    images: ImagesToVerify,
    students: Sequence[TrialConfig] = (),
) -> dict[str, Any]:
    """Prepare teacher and data, and build every configuration once: see `prepare_in_worker`.

    Raises:
        ClusterError: The node or process was lost.
    """
    task = ray.remote(prepare_in_worker).options(num_cpus=resources.cpus, num_gpus=resources.gpus)
    trials, others = ([config.to_json() for config in each] for each in (configs, students))
    found: dict[str, Any] = fetch(task.remote(trials, teachers, key, images, others))
    return found


def score_teacher_on_cluster(
    config: TrialConfig, teachers: Folder, key: str, resources: ResourcesConfig
) -> float | None:
    """Score the teacher on the test split; None where it has no score.

    Raises:
        ClusterError: The node or process was lost.
    """
    task = ray.remote(score_teacher_in_worker).options(num_cpus=resources.cpus)
    found: float | None = fetch(task.remote(config.to_json(), teachers, key))
    return found
