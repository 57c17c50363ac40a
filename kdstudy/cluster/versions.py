"""See, before any trial, that every node runs what the driver runs and reaches the same store."""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from kdstudy.cluster.nodes import alive, hosting
from kdstudy.errors import ClusterError, StoreError
from kdstudy.storage import ID_FILE, Folder

ANSWER_SECONDS = 120.0
"""How long a node may take to start a process and answer."""


@functools.cache
def package_digest() -> str:
    """Return a hash of kdstudy's own source: two checkouts may carry one version."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def versions() -> dict[str, str]:
    """Return what driver and nodes must have in common. A build tag of torch (``+cpu``) may differ."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "ray": metadata.version("ray"),
        "torch": metadata.version("torch").partition("+")[0],
        "kdstudy": f"{metadata.version('kdstudy')} ({package_digest()})",
    }


def describe_node(store: Folder) -> dict[str, Any]:
    """Return a node's versions and the identity of the store it sees, as a Ray task."""
    try:
        identity, trouble = store.read(ID_FILE), None
    except StoreError as error:
        identity, trouble = None, str(error)
    return {"versions": versions(), "store": identity, "trouble": trouble}


def check_nodes(store: Folder, identity: str, cpus: int, gpus: float) -> int:
    """Ask every node that can hold a trial; return how many there are.

    Args:
        store: Where trials read and write.
        identity: What the driver found there.
        cpus: CPUs of one trial.
        gpus: GPUs of one trial.

    Raises:
        ClusterError: A node differs or does not answer: which one, and in what. All such nodes at once.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(describe_node)
    asked = {
        task.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            store
        ): node
        for node in hosting(cpus, gpus)
    }
    _, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
    here, problems = versions(), []
    for reference, node in asked.items():
        name = f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        if reference in silent:
            problems.append(f"{name}: does not answer within {ANSWER_SECONDS:.0f} s; restart it or take it out")
            continue
        try:
            answer = ray.get(reference)
        except ray.exceptions.RayError as error:
            if node["NodeID"] in {present["NodeID"] for present in alive()}:
                problems.append(f"{name}: cannot run kdstudy ({_last_line(error)}); install kdstudy there")
            continue  # a node that has gone is no problem: trials will run on the others
        problems += _differences(name, here, answer, store, identity)
    if problems:
        raise ClusterError("\n".join(problems))
    return len(asked)


def _differences(
    name: str, here: Mapping[str, str], answer: Mapping[str, Any], store: Folder, identity: str
) -> list[str]:
    there = answer["versions"]
    found = [f"{what} {there[what]}" for what in here if there[what] != here[what]]
    if found:
        expected = ", ".join(f"{what} {here[what]}" for what in here if there[what] != here[what])
        return [f"{name}: has {', '.join(found)}, and the driver {expected}; install the same on both"]
    if answer["trouble"]:
        return [f"{name}: {answer['trouble']}"]
    if answer["store"] != identity.encode():
        return [
            f"{name}: {store} is not the same folder there as here; choose a --store on a file system that all nodes "
            "share, or s3://BUCKET/PREFIX"
        ]
    return []


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
