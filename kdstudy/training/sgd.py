"""The optimizer: SGD over the layers of a student, a learning rate for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, final

import torch
from torch import nn

Kernels = Literal["auto", "loop", "foreach", "fused"]


@final
@dataclass(frozen=True)
class SgdSettings:
    """Stochastic gradient descent with momentum.

    Args:
        base_lr: Learning rate before schedule and multipliers, > 0.
        momentum: Of the optimizer (not the controller's), in [0, 1).
        weight_decay: Coupled L2 penalty; a layer's multiplier scales it with the rate.
        nesterov: Nesterov's form.
        kernels: How its updates are computed, as ``numerics.optimizer`` has it.
    """

    base_lr: float
    momentum: float
    weight_decay: float
    nesterov: bool
    kernels: Kernels = "auto"


def build_sgd(groups: list[dict[str, Any]], sgd: SgdSettings) -> torch.optim.SGD:
    """Build the optimizer.

    Args:
        groups: As `kdstudy.training.step.param_groups` makes them.
        sgd: Its settings, ``auto`` decided: see `decided`.
    """
    return torch.optim.SGD(
        groups,
        lr=sgd.base_lr,
        momentum=sgd.momentum,
        weight_decay=sgd.weight_decay,
        nesterov=sgd.nesterov,
        **flags(sgd.kernels),
    )


def decided(sgd: SgdSettings, student: nn.Module) -> SgdSettings:
    """Return settings whose ``kernels`` are no longer ``auto`` but what torch itself would take."""
    if sgd.kernels != "auto":
        return sgd
    on_gpu = any(parameter.is_cuda for parameter in student.parameters())
    return replace(sgd, kernels="foreach" if on_gpu else "loop")


def flags(kernels: Kernels) -> dict[str, bool]:
    """Return how torch calls a way to compute the updates, in the optimizer and in its groups."""
    return {"foreach": kernels == "foreach", "fused": kernels == "fused"}
