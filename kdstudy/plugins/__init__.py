"""Plug-ins by name, and whose code may run."""

from kdstudy.plugins.lazy import lazy_names
from kdstudy.plugins.options import Earlier, Option, declaration
from kdstudy.plugins.registry import (
    AUGMENTATIONS,
    DATASETS,
    MODELS,
    OPTIMIZERS,
    POLICIES,
    PRUNERS,
    SAMPLERS,
    SCHEDULES,
    TRANSFERS,
    Registry,
)
from kdstudy.plugins.sources import source_changes, source_hashes
from kdstudy.plugins.trust import (
    allow_beside,
    allow_plugins,
    allowed_plugins,
    allowed_words,
    allowing,
    places_of,
    tell_places,
    unfound_plugins,
)

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "MODELS",
    "OPTIMIZERS",
    "POLICIES",
    "PRUNERS",
    "SAMPLERS",
    "SCHEDULES",
    "TRANSFERS",
    "Earlier",
    "Option",
    "Registry",
    "allow_beside",
    "allow_plugins",
    "allowed_plugins",
    "allowed_words",
    "allowing",
    "declaration",
    "lazy_names",
    "places_of",
    "source_changes",
    "source_hashes",
    "tell_places",
    "unfound_plugins",
]
