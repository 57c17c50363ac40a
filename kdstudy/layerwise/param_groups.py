"""Groups a network's parameters by crucial layer, for a learning rate per group."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from torch import nn

from kdstudy.errors import ModelError
from kdstudy.models import trace

HEAD = "head"
"""The group of everything after the last crucial layer; its multiplier is always 1."""


def layer_groups(
    module: nn.Module,
    layers: Sequence[str],
    image_shape: tuple[int, int, int],
) -> dict[str, list[str]]:
    """Divide the parameters among the crucial layers and the head; each is in exactly one group.

    A parameter belongs to the first crucial layer that completes with or after the parameter's own module in
    a traced forward pass, else to the head. A module that gives no tensor of its own (it returns a tuple, or
    its weights are used by the module around it) counts where the module around it completes; one that never
    runs, at the top, is in the head.

    Args:
        module: The network.
        layers: Dotted names of its crucial layers; may be empty.
        image_shape: (C, H, W) of one image.

    Returns:
        Parameter names by group, in order of depth, the head last and always there.

    Raises:
        ModelError: A layer does not run, or is called like the head's group.
    """
    position = {name: place for place, (name, _) in enumerate(trace(module, image_shape))}
    for layer in layers:
        if layer not in position or layer == HEAD:
            raise ModelError(
                f"layers: '{layer}' cannot be a crucial layer: it must run, give one tensor, "
                f"and not be called '{HEAD}'; choose from {', '.join(position)}"
            )
    ordered = sorted(layers, key=position.__getitem__)
    places = [position[layer] for layer in ordered]
    groups: dict[str, list[str]] = {layer: [] for layer in (*ordered, HEAD)}
    for name, _ in module.named_parameters():
        owner = name.rpartition(".")[0]
        while owner and owner not in position:
            owner = owner.rpartition(".")[0]
        group = bisect.bisect_left(places, position[owner]) if owner else len(ordered)
        groups[(*ordered, HEAD)[group]].append(name)
    return groups


def layer_sizes(module: nn.Module, layers: Sequence[str], image_shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Return how many parameters the group of each crucial layer holds, in the order given.

    Args:
        module: As for `layer_groups`, like the rest.
        layers: Dotted names of its crucial layers.
        image_shape: (C, H, W) of one image.

    Raises:
        ModelError: As `layer_groups`.
    """
    groups = layer_groups(module, layers, image_shape)
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    return tuple(sum(sizes[name] for name in groups[layer]) for layer in layers)
