"""How the process of a pack learns that one of its trials is over."""

from __future__ import annotations

from pathlib import Path

from kdstudy.cluster.pack_signals import request_stop, stop_requested
from kdstudy.storage import DiskFolder


def test_a_trial_is_over_in_its_own_pack_alone(tmp_path: Path) -> None:
    folder = DiskFolder(tmp_path) / "3"
    assert not stop_requested(folder, "one")
    request_stop(folder, "one")
    assert stop_requested(folder, "one")
    assert not stop_requested(folder, "another")
