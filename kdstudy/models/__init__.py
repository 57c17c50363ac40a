"""Networks: one factory function each, built and normalised by `build_model`; kept, opened and exported."""

from __future__ import annotations

import warnings
from typing import Any

from kdstudy.models.checkpoint_files import FileWeights, read_file, read_weights
from kdstudy.models.checkpoints import fit_weights
from kdstudy.models.compiled import compiled
from kdstudy.models.export import Format, export_student
from kdstudy.models.factory import build_model
from kdstudy.models.features import FeatureExtractor, Memory, Output, trace
from kdstudy.models.inspection import evaluating, watching
from kdstudy.models.layouts import MAP, Layout
from kdstudy.models.normalised import NORMALISE
from kdstudy.models.pretrained import (
    Pretrained,
    pretrained_of,
    require_head,
    train_head_only,
    with_weights,
    without_downloads,
)
from kdstudy.models.randomness import (
    GeneratorStates,
    generator_states,
    preserved_generators,
    seed_generators,
    seeded_generators,
    set_generator_states,
)
from kdstudy.models.saved import load_student, save_student
from kdstudy.models.spec import NetworkSpec
from kdstudy.models.synchronised import synchronise_batch_norms, synchronised_batch_norm
from kdstudy.models.tracing import Traced, trace_maps
from kdstudy.models.trainable import require_trainable
from kdstudy.models.weight_files import kept_files, weights_folders

__all__ = [
    "MAP",
    "NORMALISE",
    "FeatureExtractor",
    "FileWeights",
    "Format",
    "GeneratorStates",
    "Layout",
    "Memory",
    "NetworkSpec",
    "Output",
    "Pretrained",
    "Traced",
    "build_model",
    "compiled",
    "evaluating",
    "export_student",
    "fit_weights",
    "generator_states",
    "kept_files",
    "load_student",
    "preserved_generators",
    "pretrained_of",
    "read_file",
    "read_weights",
    "require_head",
    "require_trainable",
    "save_student",
    "seed_generators",
    "seeded_generators",
    "set_generator_states",
    "synchronise_batch_norms",
    "synchronised_batch_norm",
    "trace",
    "trace_maps",
    "train_head_only",
    "watching",
    "weights_folders",
    "with_weights",
    "without_downloads",
]


def __getattr__(name: str) -> Any:
    if name == "Network":
        warnings.warn("kdstudy.models.Network is now FeatureExtractor", DeprecationWarning, stacklevel=2)
        return FeatureExtractor
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
