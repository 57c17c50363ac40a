"""A Ray cluster: connect to it, see that it can run a study, or send a study to it."""

from kdstudy.cluster.connection import check_address, connected, fetch
from kdstudy.cluster.nodes import WAIT_SECONDS, draining, on_each_node, wait_for_room
from kdstudy.cluster.versions import check_nodes, package_digest

__all__ = [
    "WAIT_SECONDS",
    "check_address",
    "check_nodes",
    "connected",
    "draining",
    "fetch",
    "on_each_node",
    "package_digest",
    "wait_for_room",
]
