"""A study of several searches comes out alike, however it ran: serial, parallel, killed and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.pinned import kdstudy, kdstudy_json, killed
from tests.end_to_end.test_golden import digits

STUDY = """
name: searches
seed: 5
data: {name: digits, val_fraction: 0.2, train_images: 200}
teacher: {model: resnet8, epochs: 2, allow_weak: true}
student: {model: resnet8}
train: {epochs: 2, batch_size: 16, base_lr: {log: [0.03, 0.3]}}
arms:
  transfers: [attention: {weight: {log: [1, 100]}}]
  policies: [constant, layerwise: {interval: 1, gain: 0.3}, placebo]
search: {sampler: tpe, trials_per_arm: 3, startup: 1, lag: 1}
confirm: {searches: 3, seeds: 2, smallest: 1, at_most: 5}
"""
SLOTS = "RAY_OVERRIDE_RESOURCES"


def came_out(store: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what holds of trials (values, scores, weights) and of verdicts, the study's ID left out."""
    comparisons = kdstudy_json(store, "compare", "latest")["comparisons"]
    return digits(store), [{name: value for name, value in row.items() if name != "study_id"} for row in comparisons]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_serial_parallel_and_resumed_studies_agree_in_values_weights_and_verdicts(tmp_path: Path) -> None:
    for name in ("serial", "parallel", "resumed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.yaml").write_text(STUDY)

    kdstudy(tmp_path / "serial" / "store", "run", "study.yaml", **{SLOTS: '{"CPU": 1}'})
    serial = came_out(tmp_path / "serial" / "store")
    kdstudy(tmp_path / "parallel" / "store", "run", "study.yaml", **{SLOTS: '{"CPU": 4}'})
    store = tmp_path / "resumed" / "store"
    killed(store, store.parent / "study.yaml", "[17/", **{SLOTS: '{"CPU": 2}'})
    kdstudy(store, "resume", "latest", **{SLOTS: '{"CPU": 3}'})

    trials, verdicts = serial
    assert {trial["search"] for trial in trials} == {0, 1, 2}
    assert [row["searches"] for row in verdicts] == [3, 3]
    assert came_out(tmp_path / "parallel" / "store") == serial
    assert came_out(store) == serial
