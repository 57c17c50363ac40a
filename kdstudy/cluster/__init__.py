"""Everything that touches Ray: connect, look at the nodes, send a study there, run trials through Tune."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdstudy.cluster.connection import check_address, connected, fetch
from kdstudy.cluster.nodes import WAIT_SECONDS, draining, on_each_node, wait_for_room
from kdstudy.cluster.submit import Places, follow, submit
from kdstudy.cluster.versions import check_nodes, package_digest
from kdstudy.plugins import lazy_names

if TYPE_CHECKING:
    from kdstudy.cluster.execute import run_packs
    from kdstudy.cluster.metrics import StudyMetrics
    from kdstudy.cluster.tasks import prepare_teacher_on_cluster, score_teacher_on_cluster

__all__ = [
    "WAIT_SECONDS",
    "Places",
    "StudyMetrics",
    "check_address",
    "check_nodes",
    "connected",
    "draining",
    "fetch",
    "follow",
    "on_each_node",
    "package_digest",
    "prepare_teacher_on_cluster",
    "run_packs",
    "score_teacher_on_cluster",
    "submit",
    "wait_for_room",
]

__getattr__ = lazy_names(
    __name__,
    {
        "StudyMetrics": "kdstudy.cluster.metrics",
        "prepare_teacher_on_cluster": "kdstudy.cluster.tasks",
        "run_packs": "kdstudy.cluster.execute",
        "score_teacher_on_cluster": "kdstudy.cluster.tasks",
    },
)
