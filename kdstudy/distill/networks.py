"""What a user's own networks must be to be distilled: each refusal in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdstudy.errors import KdstudyError, LoopError, ModelError
from kdstudy.models import evaluating, preserved_generators

WHERE = "Distillation"
"""How messages begin."""


def image_shape_of(given: Sequence[int]) -> tuple[int, int, int]:
    """Return (C, H, W) as a tuple.

    Raises:
        LoopError: It is no such thing.
    """
    sides = tuple(given)
    if len(sides) != 3 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise LoopError(f"{WHERE}: image_shape must be (channels, height, width), got {given}; write (3, 32, 32)")
    channels, height, width = sides
    return channels, height, width


def share_of(smoothing: float) -> float:
    """Return the labels' smoothing.

    Raises:
        LoopError: It is no share.
    """
    if not 0 <= smoothing < 1:
        raise LoopError(f"{WHERE}: label_smoothing must be at least 0 and below 1, got {smoothing}; write 0.1")
    return smoothing


def require_groups(optimizer: torch.optim.Optimizer, groups: Sequence[Mapping[str, Any]], *, needs_norms: bool) -> None:
    """Refuse an optimizer that does not do for a distillation.

    Args:
        optimizer: The user's.
        groups: What it should have been made of.
        needs_norms: Whether the policy follows the norms of gradients.

    Raises:
        LoopError: It has not these groups, or its steps are not the gradients that the policy follows.
    """
    lacking = {str(group["layer"]) for group in groups} - {str(group.get("layer")) for group in optimizer.param_groups}
    if lacking:
        told = f"the optimizer has no group of {', '.join(sorted(lacking))}"
        raise LoopError(f"{WHERE}.step: {told}; make it of distillation.param_groups()")
    if needs_norms and not isinstance(optimizer, torch.optim.SGD):
        told = f"the policy follows the norms of gradients, which are not the steps of {type(optimizer).__name__}"
        raise LoopError(f"{WHERE}.step: {told}; use torch.optim.SGD, or another policy")


def device_of(module: nn.Module) -> torch.device:
    """Return where a network's parameters are; the CPU for one without any."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def num_classes_of(student: nn.Module, teacher: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Return K of the student's logits.

    Raises:
        ModelError: One of the two does not take such images, or gives no logits; or they share parameters.
    """
    _require_apart(student, teacher)
    found, _ = _classes("student", student, image_shape), _classes("teacher", teacher, image_shape)
    return found


def _require_apart(student: nn.Module, teacher: nn.Module) -> None:
    """Refuse a teacher that shares parameters with the student: it is frozen."""
    own = {id(parameter): name for name, parameter in student.named_parameters()}
    shared = next((own[id(parameter)] for parameter in teacher.parameters() if id(parameter) in own), None)
    if shared is not None:
        told = f"student and teacher share the parameter '{shared}', and the teacher is frozen"
        raise ModelError(f"{WHERE}: {told}; pass a copy.deepcopy as the teacher")


def _classes(owner: str, module: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Return K of a network's logits."""
    images = torch.zeros(1, *image_shape, device=device_of(module))
    try:
        with evaluating(module), preserved_generators(), torch.no_grad():
            logits = module(images)
    except KdstudyError:
        raise
    except Exception as error:
        told = f"the {owner} does not take images of {image_shape} ({type(error).__name__}: {error})"
        raise ModelError(" ".join(f"{WHERE}: {told}; give image_shape as it takes them".split())) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = f"of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        told = f"the {owner} must give logits (images, classes), got {got}"
        raise ModelError(f"{WHERE}: {told}; wrap it in a module that returns them alone")
    return logits.shape[1]
