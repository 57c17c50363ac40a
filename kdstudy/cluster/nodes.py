"""The nodes of the cluster we are connected to, which may come and go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from kdstudy.cluster.connection import fetch
from kdstudy.errors import ClusterError
from kdstudy.storage import wait_until

log = logging.getLogger(__name__)

WAIT_SECONDS = 300.0
"""How long a cluster without room for a trial is waited for: an autoscaler needs minutes for a machine."""


def room(cpus: int, gpus: float, ranks: int = 1) -> int:
    """Return how many trials the cluster can hold at once now.

    Args:
        cpus: CPUs of one trial, or of each of its ranks.
        gpus: GPUs of the same, a fraction allowed.
        ranks: Of one trial, on one node or several.
    """
    return sum(holds(node["Resources"], cpus, gpus) for node in alive()) // ranks


def local_cpus() -> int:
    """Return how many CPUs Ray would have if it started on this machine: a container's share, where it is in one."""
    from ray._private.utils import get_num_cpus  # Ray offers no public way to ask before it runs

    return int(get_num_cpus(override_docker_cpu_warning=True))


def alive() -> list[dict[str, Any]]:
    """Return Ray's description of every node that is there."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def hosting(cpus: int, gpus: float) -> list[dict[str, Any]]:
    """Return the nodes that can hold a trial: not a head that is kept free, not one without the GPU it takes."""
    return [node for node in alive() if holds(node["Resources"], cpus, gpus) > 0]


def draining() -> set[str]:
    """Return the IDs of the nodes that will soon be taken away: preempted, or scaled down."""
    import ray._private.state  # Ray offers no public way to ask

    return set(ray._private.state.state.get_draining_nodes())


def wait_for_room(cpus: int, gpus: float, ranks: int = 1, *, seconds: float = WAIT_SECONDS) -> int:
    """Return how many trials the cluster can hold at once; wait for the first node that can hold one.

    Args:
        cpus: As for `room`.
        gpus: Likewise.
        ranks: Likewise.
        seconds: Longer is not waited.

    Raises:
        ClusterError: No node could hold even one: the study would wait for ever.
    """
    import ray

    found = room(cpus, gpus, ranks)
    if found == 0 and seconds > 0:
        log.info(
            f"no node has room for a trial ({cpus} CPUs, {gpus:g} GPUs{f' for each of {ranks} ranks' * (ranks > 1)}); "
            f"waiting up to {seconds:.0f} s for one to join"
        )
        # A task that waits for its resources is what an autoscaler looks at.
        task = ray.remote(_nothing).options(num_cpus=cpus, num_gpus=gpus)
        waiting = [task.remote() for _ in range(ranks)]
        found = wait_until(lambda: room(cpus, gpus, ranks), seconds=seconds)
        for each in waiting:
            ray.cancel(each, force=True)
    if found == 0:
        lacks = "no node of the cluster has" if ranks == 1 else f"the cluster has not {ranks} times"
        raise ClusterError(
            f"resources: {lacks} {cpus} CPUs and {gpus:g} GPUs for one trial; lower resources.cpus or resources.gpus"
            f"{', or ranks' * (ranks > 1)}"
        )
    return found


def on_each_node(work: Callable[..., Any], *arguments: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Run ``work`` once on every node; yield Ray's description of it, and what came back or the ClusterError."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    for node in alive():
        place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(work).options(num_cpus=0, scheduling_strategy=place).remote(*arguments)
        try:
            found = fetch(task)
        except ClusterError as error:
            found = error
        yield node, found


def _nothing() -> None:
    """Only takes room."""


def holds(resources: dict[str, float], cpus: int, gpus: float) -> int:
    """Return how many trials of so many CPUs and GPUs a node with these resources holds at once."""
    by_cpu = int(resources.get("CPU", 0) // cpus)
    by_gpu = int(resources.get("GPU", 0) / gpus + 1e-9) if gpus > 0 else by_cpu
    return min(by_cpu, by_gpu)
