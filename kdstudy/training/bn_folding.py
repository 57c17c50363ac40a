"""Folds the teacher's batch norms into its convolutions: the same function in eval mode, with less work."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kdstudy.errors import ModelError
from kdstudy.models import watching

TOLERANCE = 1e-3
"""Largest error of a logit, relative to the logits' own size, that rounding may make."""


def fold(module: nn.Module, layers: Sequence[str], image_shape: tuple[int, int, int]) -> nn.Module:
    """Return a copy of a network in eval mode whose batch norms are folded into the convolutions that feed them.

    Which norm follows which convolution is seen in a pass, so that names and layers stay as they are; a norm that
    follows nothing of the kind stays.

    Args:
        module: Left as it is.
        layers: Names of layers whose outputs are looked at; they may not lie between the two.
        image_shape: (C, H, W).

    Raises:
        ModelError: A layer lies between, or the copy computes something else.
    """
    folded = copy.deepcopy(module).eval()
    device = next(folded.parameters()).device
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0)).to(device)
    modules = dict(folded.named_modules())
    with torch.no_grad():
        before = folded(images)
        for conv, norm in _pairs(folded, images):
            if conv in layers:
                raise ModelError(
                    f"numerics.teacher: layer '{conv}' stands before the batch norm that would be folded into it; "
                    "choose another layer, or teacher: float32"
                )
            _set(folded, conv, fuse_conv_bn_eval(modules[conv], modules[norm]))
            _set(folded, norm, nn.Identity())
        after = folded(images)
    if not torch.allclose(before, after, rtol=TOLERANCE, atol=TOLERANCE * float(before.abs().max())):
        raise ModelError(
            "numerics.teacher: folding its batch norms changes what the teacher computes, since something else reads "
            "a convolution's output; write teacher: float32"
        )
    return folded.requires_grad_(False)


def _pairs(module: nn.Module, images: Tensor) -> list[tuple[str, str]]:
    """Return (convolution, batch norm) names where the one's output is the other's input, and each runs once."""
    made: list[tuple[Tensor, str]] = []
    pairs: list[tuple[str, str]] = []
    calls: dict[str, int] = {}
    layers = {name: child for name, child in module.named_modules() if isinstance(child, nn.Conv2d | nn.BatchNorm2d)}

    def record(name: str, inputs: tuple[Any, ...], output: Any) -> None:
        calls[name] = calls.get(name, 0) + 1
        if isinstance(layers[name], nn.Conv2d):
            made.append((output, name))
        else:
            pairs.extend((conv, name) for tensor, conv in made if tensor is inputs[0])

    with watching(layers, record):
        module(images)
    return [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1]


def _set(module: nn.Module, name: str, child: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(module.get_submodule(parent), own, child)
