"""The optimizer: SGD over the layers of a student, a learning rate for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import nn

Kernels = Literal["auto", "loop", "foreach", "fused"]
ADAPTORS = "transfer"


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


def build_sgd(
    student: nn.Module, groups: Mapping[str, Iterable[str]], adaptors: Iterable[nn.Parameter], sgd: SgdSettings
) -> torch.optim.SGD:
    """Build the optimizer, with a group for each layer that has parameters, and one for the transfer method's own.

    Args:
        student: Whose parameters are trained.
        groups: Layer (or ``head``) to names of parameters; each in exactly one group.
        adaptors: The transfer method's own parameters.
        sgd: Its settings, ``auto`` decided: see `decided`.
    """
    parameters = dict(student.named_parameters())
    layout: list[dict[str, object]] = [
        {"params": [parameters.pop(name) for name in names], "layer": layer} for layer, names in groups.items()
    ]
    assert not parameters, f"parameters outside every group: {sorted(parameters)}"
    layout.append({"params": list(adaptors), "layer": ADAPTORS})
    return torch.optim.SGD(
        [group for group in layout if group["params"]],
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
