"""Room for trials on a cluster whose nodes come and go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdstudy.cluster.nodes import holds

# In a process of its own: what Ray sets in it must not outlive the test.
JOINS_LATER = """
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from ray.cluster_utils import Cluster
import ray
from kdstudy.cluster.nodes import wait_for_room
from kdstudy.errors import ClusterError

logging.getLogger("kdstudy").setLevel(logging.INFO)
logging.getLogger("kdstudy").addHandler(logging.StreamHandler(sys.stdout))
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
ray.init(address=cluster.address, log_to_driver=False)
for cpus, gpus, seconds in ((1, 0.0, 0.0), (1, 0.5, 1.0)):
    try:
        wait_for_room(cpus, gpus, seconds=seconds)
    except ClusterError as error:
        print("refused:", error)
with ThreadPoolExecutor() as pool:
    found = pool.submit(wait_for_room, 2, 0.0, seconds=60.0)
    time.sleep(2)
    assert not found.done()
    cluster.add_node(num_cpus=5)
    print("room for", found.result())
print("room for", wait_for_room(2, 0.0, seconds=60.0))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "count"),
    [
        ({"CPU": 8.0}, 1, 0.0, 8),
        ({"CPU": 8.0}, 3, 0.0, 2),
        ({"CPU": 8.0}, 1, 1.0, 0),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 0.25, 8),
        ({"CPU": 8.0, "GPU": 1.0}, 1, 0.1, 8),
        ({"CPU": 32.0, "GPU": 1.0}, 1, 0.1, 10),
        ({"CPU": 2.0, "GPU": 8.0}, 1, 1.0, 2),
        ({"GPU": 1.0}, 1, 1.0, 0),
    ],
)
def test_a_node_holds_as_many_trials_as_its_scarcer_resource_allows(
    resources: dict[str, float], cpus: int, gpus: float, count: int
) -> None:
    assert holds(resources, cpus, gpus) == count


@pytest.mark.slow
def test_a_cluster_without_room_is_waited_for_and_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0" * 64)
    done = subprocess.run(
        [sys.executable, "-c", JOINS_LATER],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "refused: resources: no node of the cluster has 1 CPUs and 0 GPUs for one trial; "
        "lower resources.cpus or resources.gpus",
        "no node has room for a trial (1 CPUs, 0.5 GPUs); waiting up to 1 s for one to join",
        "refused: resources: no node of the cluster has 1 CPUs and 0.5 GPUs for one trial; "
        "lower resources.cpus or resources.gpus",
        "no node has room for a trial (2 CPUs, 0 GPUs); waiting up to 60 s for one to join",
        "room for 2",
        "room for 2",
    ]
