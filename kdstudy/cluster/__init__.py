"""Everything that touches Ray: connect, look at the nodes, send a study there, run trials through Tune."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdstudy.cluster.connection import check_address, connected, fetch
from kdstudy.cluster.events import EpochFinished, PackSource, TrialEnded, TrialEvent, TrialStarted
from kdstudy.cluster.jobs import Cluster, PackJob, RayCluster
from kdstudy.cluster.nodes import draining, local_cpus, on_each_node, room
from kdstudy.cluster.prepare import ImagesToVerify
from kdstudy.cluster.submit import Places, follow, submit
from kdstudy.cluster.versions import package_digest
from kdstudy.plugins import lazy_names

if TYPE_CHECKING:
    from kdstudy.cluster.metrics import StudyMetrics

__all__ = [
    "Cluster",
    "EpochFinished",
    "ImagesToVerify",
    "PackJob",
    "PackSource",
    "Places",
    "RayCluster",
    "StudyMetrics",
    "TrialEnded",
    "TrialEvent",
    "TrialStarted",
    "check_address",
    "connected",
    "draining",
    "fetch",
    "follow",
    "local_cpus",
    "on_each_node",
    "package_digest",
    "room",
    "submit",
]

__getattr__ = lazy_names(
    __name__,
    {
        "StudyMetrics": "kdstudy.cluster.metrics",
    },
)
