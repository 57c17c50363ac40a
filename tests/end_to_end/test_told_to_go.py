"""A driver that is told to go with others: with its process group, as by `timeout`, or with all of its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdstudy.ledger import LeaseOwner, Ledger
from tests.command_line import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

STUDY = """
name: told
seed: 0
data: {name: digits, val_fraction: 0.25, train_images: 200}
teacher: {model: resnet8, epochs: 1, allow_weak: true}
student: {model: resnet8}
train: {epochs: 200, batch_size: 8, base_lr: 0.05}
arms: {transfers: [attention], policies: [constant]}
search: {sampler: random, trials_per_arm: 2}
confirm: {seeds: 1}
"""


def below(parent: int) -> list[int]:
    """The processes that descend from one."""
    found: list[int] = []
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(folder.name))
    queue = [parent]
    while queue:
        queue += (children := parents.get(queue.pop(), []))
        found += children
    return found


@pytest.mark.parametrize("whom", ["its group", "every process"])
def test_it_leaves_in_time_and_the_study_can_be_resumed(whom: str, tmp_path: Path) -> None:
    (tmp_path / "told.yaml").write_text(STUDY)
    driver = subprocess.Popen(
        [sys.executable, "-m", "kdstudy", "run", "told.yaml"],
        cwd=tmp_path,
        env={**os.environ, "KDSTUDY_GRACE": "5"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with driver:
        until(driver, "  trial")
        began = time.monotonic()
        if whom == "its group":
            os.killpg(driver.pid, signal.SIGTERM)
        else:
            for pid in [driver.pid, *below(driver.pid)]:
                os.kill(pid, signal.SIGTERM)
        assert driver.stderr is not None
        said = driver.stderr.read()
        assert driver.wait(60) == 130, said
    assert time.monotonic() - began < 30
    assert "Traceback" not in said
    with Ledger.open(f"sqlite:///{tmp_path}/kdstudy-data/ledger.db") as ledger:
        assert ledger.study(ledger.resolve("latest")).status == "interrupted"
        ledger.acquire_lease(ledger.resolve("latest"), LeaseOwner.here())
