"""Which layers of a trial's networks are compared, where a method compares any."""

from __future__ import annotations

from typing import Literal

from torch import nn

from kdstudy.errors import ModelError
from kdstudy.layerwise import LayerPair, match_embeddings, match_layers
from kdstudy.models import trace_maps
from kdstudy.plugins import POLICIES, TRANSFERS
from kdstudy.study import TrialConfig

Need = Literal["layers", "embedding", "nothing"]


def need_of(config: TrialConfig) -> Need:
    """Return what a trial's method and policy need of its networks: a policy over layers needs layers."""
    if getattr(POLICIES.load(config.policy.name), "needs_layers", True):  # a user's own may say nothing
        return "layers"
    need: Need = getattr(TRANSFERS.load(config.transfer.name), "needs", "layers")
    return need


def layer_pairs(
    config: TrialConfig, student: nn.Module, teacher: nn.Module, image_shape: tuple[int, int, int]
) -> tuple[LayerPair, ...]:
    """Match the networks' crucial layers; where none match, what the trial does without.

    A method that needs an embedding is given that of both networks; one that needs nothing has no layer.

    Raises:
        ModelError: No layers match and the trial needs them, or a named one does not exist.
    """
    traces = trace_maps(student, image_shape), trace_maps(teacher, image_shape)
    try:
        return match_layers(*traces, config.layers)
    except ModelError:
        need = need_of(config)
        if config.layers != "auto" or need == "layers":
            raise
        return () if need == "nothing" else (match_embeddings(*traces),)
