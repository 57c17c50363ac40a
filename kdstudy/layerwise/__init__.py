"""Crucial layers, how far student and teacher differ there, and the learning-rate policies over them."""

from kdstudy.layerwise.base import Policy
from kdstudy.layerwise.divergence import divergence
from kdstudy.layerwise.matching import LayerPair, match_layers
from kdstudy.layerwise.param_groups import layer_groups

__all__ = [
    "LayerPair",
    "Policy",
    "divergence",
    "layer_groups",
    "match_layers",
]
