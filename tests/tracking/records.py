"""Records to publish, small enough to check by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from kdstudy.ledger import DatasetInfo, Running, StudyRecord, TeacherInfo, TrialRecord
from kdstudy.results import EpochRecord, LayerRecord
from kdstudy.study import ArmId
from kdstudy.tracking import Tracker
from tests.command_line import SMOKE
from tests.stages import START

BEGUN = START + timedelta(seconds=10)


def make_study(**changes: Any) -> StudyRecord:
    study = StudyRecord(
        id="smoke-0123abcd",
        name="smoke",
        seed=3,
        text=SMOKE.read_text(),
        created=START,
        environment={
            "python": "3.11.7",
            "git": {
                "kdstudy": None,
                "directory": {"commit": "c0ffee", "dirty": True, "diff": "-old\n+new\n", "diff_sha256": "ab"},
            },
        },
        dataset=DatasetInfo("digits", "f" * 64),
        teacher=TeacherInfo("k", "7ea", 0.98),
    )
    return dataclasses.replace(study, **changes)


def close_study(
    tracker: Tracker,
    study: StudyRecord,
    comparison: Mapping[str, Any],
    summary: str,
    student: Path | None,
    page: str | None = None,
) -> None:
    """Put a result on a study's run and end it, as a driver does."""
    tracker.publish_comparison(study, comparison)
    tracker.describe_study(study, summary)
    if page is not None:
        tracker.publish_page(study, page)
    if student is not None:
        tracker.publish_model(study, student)
    tracker.end_study(study)


def make_trial(**changes: Any) -> TrialRecord:
    fields: dict[str, Any] = {
        "study_id": "smoke-0123abcd",
        "number": 7,
        "phase": "search",
        "arm_id": ArmId("attention", "layerwise"),
        "index": 3,
        "data_seed": 11,
        "init_seed": 12,
        "stage": Running(BEGUN),
        "created": START,
        "values": {
            "train.base_lr": 0.05,
            "arms.transfers.attention.weight": 100.0,
            "arms.policies.layerwise.interval": 2,
        },
        "config": {
            "name": "smoke",
            "data": {"name": "digits", "val_fraction": 0.2, "root": None, "options": {}},
            "student": {"model": {"resnet8": {"shortcut": "A"}}},
            "teacher": {"model": {"resnet20": {"shortcut": "B"}}, "epochs": 1, "key_map": {}},
            "train": {
                "epochs": 2,
                "batch_size": 32,
                "base_lr": 0.05,
                "nesterov": False,
                "schedule": "cosine",
            },
            "transfer": {"attention": {"weight": 100.0}},
            "policy": {"layerwise": {"interval": 2, "momentum": 0.5, "gain": 0.25}},
            "layers": [["layer1", "layer1"]],
            "resources": {"cpus": 1},
            "data_seed": 11,
            "init_seed": 12,
            "split_seed": 3,
        },
    }
    return TrialRecord(**{**fields, **changes})


def make_epoch(epoch: int, **changes: Any) -> EpochRecord:
    fields: dict[str, Any] = {
        "epoch": epoch,
        "loss": 2.0 / epoch,
        "terms": {"cross_entropy": 1.0 / epoch, "attention/layer1": 1.0 / epoch},
        "val": 0.5 + epoch / 10,
        "val_loss": 1.0,
        "rate": 0.05,
        "rates": {"layer1": 0.06, "head": 0.05},
        "layers": (LayerRecord("layer1", 0.25, 0.1, 1.2),) if epoch % 2 == 0 else (),
        "seconds": 1.5,
    }
    return EpochRecord(**{**fields, **changes})
