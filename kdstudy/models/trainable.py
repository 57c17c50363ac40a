"""Finds what makes a user's network untrainable or unrepeatable, before anything is trained: `require_trainable`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdstudy.errors import ModelError
from kdstudy.models.factory import DEBUG, describe, is_own, same_numbers, told_in_one_line
from kdstudy.models.inspection import evaluating
from kdstudy.models.randomness import seeded_generators
from kdstudy.models.spec import NetworkSpec

IMAGES = 2
"""Tried together: batch norm takes no single image in training mode."""

_DRAW = (
    "draw from torch's, NumPy's or Python's global generator, which kdstudy seeds, not from one of its own, the clock "
    "or the system"
)


def require_trainable(spec: NetworkSpec) -> None:
    """Build a user's network twice, and run both: they must agree, and give logits in training mode too.

    What is tried is thrown away. The networks of kdstudy are not tried: its tests do.

    Args:
        spec: The network.

    Raises:
        PluginError: No model of that name.
        ModelError: It cannot be built; its weights or outputs are no function of the seed; in training mode it raises
            or gives something else.
    """
    if not is_own(spec.model):
        return
    first, second = spec.build(seed=0), spec.build(seed=0)
    _require_the_same_weights(spec.model, first, second)
    images = torch.rand(IMAGES, *spec.image_shape, generator=torch.Generator().manual_seed(0))
    outputs = [_evaluated(module, images) for module in (first, second)]
    _require_the_same_outputs(spec.model, outputs, "for the same images in eval mode")
    began = {name: value.detach().clone() for name, value in _tensors(first)}
    trained = _trained(spec, first, images)
    with torch.no_grad():
        for name, value in _tensors(first):
            value.copy_(began[name])
    _require_the_same_outputs(
        spec.model, [trained, _trained(spec, first, images)], "for the same images in training mode"
    )


def _require_the_same_weights(name: str, first: nn.Module, second: nn.Module) -> None:
    one, other = dict(_tensors(first)), dict(_tensors(second))
    shared = next((key for key in one if key in other and one[key] is other[key]), None)
    if shared is not None:
        raise ModelError(f"model: '{name}' gives the same '{shared}' each time it is called; build a new network")
    keys = (*one, *other)
    differing = next((k for k in keys if k not in one or k not in other or not same_numbers(one[k], other[k])), None)
    if differing is not None:
        raise ModelError(f"model: '{name}' gives other weights each time, '{differing}' first, with one seed; {_DRAW}")


def _require_the_same_outputs(name: str, outputs: list[Tensor], when: str) -> None:
    if not same_numbers(*outputs):
        raise ModelError(
            f"model: '{name}' gives other logits each time {when}, with one seed; {_DRAW}, and keep what changes from "
            "step to step in buffers"
        )


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return itertools.chain(module.named_parameters(), module.named_buffers())


def _evaluated(module: nn.Module, images: Tensor) -> Tensor:
    with seeded_generators(0), evaluating(module), torch.no_grad():
        logits: Tensor = module(images)
    return logits


def _trained(spec: NetworkSpec, module: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of a pass in training mode, gradients and all.

    Raises:
        ModelError: It raises, or gives no logits.
    """
    expected = (IMAGES, spec.num_classes)
    with (
        seeded_generators(0),
        told_in_one_line(spec.model, f"'{spec.model}' cannot run in training mode", DEBUG),
    ):
        output: Any = module.train()(images)
        if isinstance(output, Tensor) and output.shape == expected:
            if output.requires_grad:
                output.sum().backward()
            return output.detach()
    raise ModelError(
        f"model: '{spec.model}' gives {describe(output)} in training mode for {IMAGES} images, not logits {expected}; "
        f"its forward pass must return logits alone in both modes{_auxiliary(output)}"
    )


def _auxiliary(output: Any) -> str:
    several = isinstance(output, tuple | list | Mapping) and len(output) > 1
    return " (networks with auxiliary heads have a switch for them: aux_logits=False in torchvision)" if several else ""
