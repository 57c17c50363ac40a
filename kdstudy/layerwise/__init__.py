"""Crucial layers, how far student and teacher differ there, and the learning-rate policies over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdstudy.layerwise.base import Measurement, Policy, make_policy
from kdstudy.layerwise.normalise import normalised
from kdstudy.plugins import lazy_names

if TYPE_CHECKING:
    from kdstudy.layerwise.divergence import measure_divergence
    from kdstudy.layerwise.matching import LayerPair, match_embeddings, match_layers
    from kdstudy.layerwise.param_groups import layer_groups, layer_sizes

__all__ = [
    "LayerPair",
    "Measurement",
    "Policy",
    "layer_groups",
    "layer_sizes",
    "make_policy",
    "match_embeddings",
    "match_layers",
    "measure_divergence",
    "normalised",
]

# Policies are plain arithmetic: to list or to check them must not pay for torch.
__getattr__ = lazy_names(
    __name__,
    {
        "LayerPair": "kdstudy.layerwise.matching",
        "match_embeddings": "kdstudy.layerwise.matching",
        "match_layers": "kdstudy.layerwise.matching",
        "measure_divergence": "kdstudy.layerwise.divergence",
        "layer_groups": "kdstudy.layerwise.param_groups",
        "layer_sizes": "kdstudy.layerwise.param_groups",
    },
)
