"""Networks: one factory function each, built and normalised by `build_model`; kept, opened and exported."""

from __future__ import annotations

import warnings
from typing import Any

from kdstudy.models.checkpoints import fit_weights, read_file, read_weights
from kdstudy.models.export import Format, export_student
from kdstudy.models.factory import NORMALISE, build_model
from kdstudy.models.features import FeatureExtractor, Memory, Output, trace
from kdstudy.models.inspection import evaluating, watching
from kdstudy.models.saved import load_student, save_student
from kdstudy.models.spec import NetworkSpec

__all__ = [
    "NORMALISE",
    "FeatureExtractor",
    "Format",
    "Memory",
    "NetworkSpec",
    "Output",
    "build_model",
    "evaluating",
    "export_student",
    "fit_weights",
    "load_student",
    "read_file",
    "read_weights",
    "save_student",
    "trace",
    "watching",
]


def __getattr__(name: str) -> Any:
    if name == "Network":
        warnings.warn("kdstudy.models.Network is now FeatureExtractor", DeprecationWarning, stacklevel=2)
        return FeatureExtractor
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
