"""What the packs of a study need, whatever runs them, and what a driver asks of whatever does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

from kdstudy.cluster.connection import connected
from kdstudy.cluster.events import PackSource
from kdstudy.cluster.nodes import WAIT_SECONDS, wait_for_room
from kdstudy.cluster.prepare import ImagesToVerify
from kdstudy.cluster.versions import check_nodes
from kdstudy.ledger import TrialRecord
from kdstudy.search import Scores
from kdstudy.storage import Folder
from kdstudy.study import PluginSpec, ResourcesConfig, TrialConfig


@final
@dataclass(frozen=True)
class PackJob:
    """What every pack of a study needs, and what is known of earlier ones.

    Args:
        study_id: The study's ID.
        teacher: The teacher's folder.
        folder: The study's folder, in which each trial has its own.
        cache: Where, on each node, trials share what they need of the teacher.
        data: Fingerprint of the data.
        resources: What one process takes.
        capacity: Processes that the cluster holds at once.
        pruner: What stops trials early.
        trials: All that have been recorded.
        scores: Their validation scores, by number and epoch.
        notes: Where whatever runs the packs may keep notes of its own, which it removes.
    """

    study_id: str
    teacher: Folder
    folder: Folder
    cache: Path
    data: str
    resources: ResourcesConfig
    capacity: int
    pruner: PluginSpec
    trials: Sequence[TrialRecord]
    scores: Mapping[int, Scores]
    notes: Path


class Cluster(Protocol):
    """Where the work of a study is done: all that a driver asks of it."""

    def connected(
        self, address: str | None, folder: Path, lost: Callable[[Exception], None]
    ) -> AbstractContextManager[None]:
        """Hold a connection: see `kdstudy.cluster.connected`."""

    def room(self, address: str | None, resources: ResourcesConfig, store: Folder, identity: str) -> int:
        """Return how many trials there is room for at once, on nodes that run what we run and see our store."""

    def prepare_teacher(
        self,
        configs: Sequence[TrialConfig],
        teachers: Folder,
        key: str | None,
        resources: ResourcesConfig,
        images: ImagesToVerify,
        students: Sequence[TrialConfig] = (),
    ) -> dict[str, Any]:
        """Prepare teacher and data: see `kdstudy.cluster.prepare.prepare_in_worker`."""

    def score_teacher(
        self, config: TrialConfig, teachers: Folder, key: str, resources: ResourcesConfig
    ) -> float | None:
        """Return the teacher's test score; None where it has none."""

    def run_packs(self, job: PackJob, source: PackSource, stopping: Callable[[], bool]) -> None:
        """Run packs: see `kdstudy.cluster.execute.run_packs`."""


@final
class RayCluster:
    """Ray's: one started here, or the one at an address. Imports Ray when it is first asked."""

    def connected(
        self, address: str | None, folder: Path, lost: Callable[[Exception], None]
    ) -> AbstractContextManager[None]:
        """Connect to Ray."""
        return connected(address, folder, lost)

    def room(self, address: str | None, resources: ResourcesConfig, store: Folder, identity: str) -> int:
        """Wait for the first node of a cluster that has room, and ask all that have."""
        waiting = 0.0 if address is None else WAIT_SECONDS
        capacity = wait_for_room(resources.cpus, resources.gpus, resources.ranks, seconds=waiting)
        if address is not None:
            check_nodes(store, identity, resources.cpus, resources.gpus)
        return capacity

    def prepare_teacher(
        self,
        configs: Sequence[TrialConfig],
        teachers: Folder,
        key: str | None,
        resources: ResourcesConfig,
        images: ImagesToVerify,
        students: Sequence[TrialConfig] = (),
    ) -> dict[str, Any]:
        """Prepare teacher and data as a task."""
        from kdstudy.cluster.tasks import prepare_teacher_on_cluster

        return prepare_teacher_on_cluster(configs, teachers, key, resources, images, students)

    def score_teacher(
        self, config: TrialConfig, teachers: Folder, key: str, resources: ResourcesConfig
    ) -> float | None:
        """Score the teacher as a task."""
        from kdstudy.cluster.tasks import score_teacher_on_cluster

        return score_teacher_on_cluster(config, teachers, key, resources)

    def run_packs(self, job: PackJob, source: PackSource, stopping: Callable[[], bool]) -> None:
        """Run packs by Ray Tune."""
        from kdstudy.cluster.execute import run_packs

        run_packs(job, source, stopping)
