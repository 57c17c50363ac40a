"""A driver that is told to stop, stops."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, time
from kdstudy.runner.signals import interrupt_study, preemptible, terminable

signal.signal(signal.SIGINT, signal.{sigint})

def work():
    for _ in range(200):  # what another thread asks for is done between two steps, never within one
        time.sleep(0.05)

try:
    {body}
    print("went on")
except KeyboardInterrupt:
    print("stopped")
"""
TOLD = """
    with terminable(), preemptible() as stopping:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping()
        work()
"""
LOST = """
    from kdstudy.ledger import LeaseOwner, Ledger, StudyRecord, keep_lease, lease
    lease.LEASE_SECONDS = 0.6
    ours = LeaseOwner.here()
    with Ledger.open("sqlite:///ledger.db", create=True) as ledger:
        ledger.create_study(StudyRecord(id="a-1", name="a", seed=0, text="", environment={}), LeaseOwner.here())
        with terminable(), keep_lease(ledger, "a-1", ours, interrupt_study), preemptible():
            work()
"""


@pytest.mark.parametrize(
    "sigint",
    ["default_int_handler", pytest.param("SIG_IGN", marks=pytest.mark.slow)],  # a script's background jobs ignore it
)
@pytest.mark.parametrize("body", [TOLD, LOST], ids=["grace over", "hold lost"])
def test_a_driver_stops(body: str, sigint: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(sigint=sigint, body=body.strip())],
        env={"KDSTUDY_GRACE": "0.3", "PATH": "", "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split("\n")[-2] == "stopped", done.stdout + done.stderr
