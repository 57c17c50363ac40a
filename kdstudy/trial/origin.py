"""What a student's file says beside its network: the names of its classes, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdstudy.data import Dataset
from kdstudy.study import TrialConfig


def about_student(config: TrialConfig, data: Dataset, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return it as plain values.

    Args:
        config: The trial that trained the student.
        data: Its data set.
        origin: Study, number and phase of the trial; empty where it is of no study.
    """
    return {
        "classes": list(data.classes),
        "provenance": {
            **origin,
            "study": config.name,
            "arm": config.arm,
            "data": data.fingerprint,
            "data_seed": config.data_seed,
            "init_seed": config.init_seed,
        },
    }
