"""The optimizer: over the layers of a student, a learning rate for each; and what is done to gradients before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, final

import torch
from annotated_types import Ge, Gt, Lt
from torch import nn

from kdstudy.errors import StudyError
from kdstudy.plugins import OPTIMIZERS

Kernels = Literal["auto", "loop", "foreach", "fused"]
Groups = list[dict[str, Any]]


@final
@dataclass(frozen=True)
class OptimizerSettings:
    """How a student's weights are updated.

    Args:
        base_lr: Learning rate before schedule and multipliers, > 0.
        momentum: Of the optimizer (not the controller's), in [0, 1).
        weight_decay: As the optimizer has it; a layer's multiplier scales it with the rate.
        nesterov: Nesterov's form of the momentum.
        kernels: How updates are computed, as ``numerics.optimizer`` has it.
        name: A registered optimizer, or one of the user's own.
        options: Its keyword-only arguments.
        clip_norm: Largest norm of all gradients together, > 0; None for any.
    """

    base_lr: float
    momentum: float
    weight_decay: float
    nesterov: bool
    kernels: Kernels = "auto"
    name: str = "sgd"
    options: Mapping[str, Any] = field(default_factory=dict)
    clip_norm: float | None = None


def sgd(
    groups: Groups, lr: float, weight_decay: float, momentum: float, nesterov: bool, kernels: Mapping[str, bool]
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum; weight decay is part of the gradient (coupled).

    Source: `torch.optim.SGD`.

    Args:
        groups: Parameters by layer.
        lr: Learning rate.
        weight_decay: Weight of the L2 penalty's gradient.
        momentum: 0 for none.
        nesterov: Nesterov's form.
        kernels: ``foreach`` and ``fused``, as torch has them.
    """
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, **kernels)


def adamw(  # noqa: PLR0913 -- what torch's takes
    groups: Groups,
    lr: float,
    weight_decay: float,
    momentum: float,
    kernels: Mapping[str, bool],
    *,
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999,
    eps: Annotated[float, Gt(0)] = 1e-8,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay: each weight's step is normalised, so rates are some 100 times smaller.

    ``train.momentum`` is its beta_1. A layer's multiplier scales its rate, and with it the decay, which is rate times
    ``weight_decay``: 0.01 to 0.3 are usual. What the paper's policy does to normalised steps is another question than
    what it does to SGD's.

    Source: Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2; `torch.optim.AdamW`, without AMSGrad.

    Args:
        groups: Parameters by layer.
        lr: Learning rate.
        weight_decay: Decoupled.
        momentum: beta_1, in [0, 1).
        kernels: ``foreach`` and ``fused``, as torch has them.
        beta2: Decay of the mean squared gradient, in [0, 1).
        eps: Added to its root, > 0.
    """
    return torch.optim.AdamW(groups, lr=lr, betas=(momentum, beta2), eps=eps, weight_decay=weight_decay, **kernels)


def build_optimizer(groups: Groups, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Build the optimizer.

    Args:
        groups: As `kdstudy.training.step.param_groups` makes them.
        settings: With ``auto`` decided: see `decided`.

    Raises:
        StudyError: One of the user's own is no optimizer of torch's kind, or leaves weights or layers out.
    """
    given = _layers(groups)
    built: Any = OPTIMIZERS.call(
        settings.name,
        groups,
        settings.base_lr,
        settings.weight_decay,
        settings.momentum,
        settings.nesterov,
        flags(settings.kernels),
        options=settings.options,
    )
    if not isinstance(built, torch.optim.Optimizer):
        told = f"'{settings.name}' must return a torch.optim.Optimizer, got {type(built).__name__}"
        raise StudyError([f"{told}; return one made of the groups it is given"])
    if _layers(built.param_groups) != given:
        told = f"'{settings.name}' must hold every weight it is given, in groups that keep their `layer`"
        raise StudyError([f"{told}, got others; pass the groups on as they are, or copy each with its keys"])
    return built


def kernels_of(settings: OptimizerSettings) -> str:
    """Return how updates are computed, for the record: ``own`` where the plug-in takes no `kernels`."""
    return settings.kernels if OPTIMIZERS.takes(settings.name, "kernels") else "own"


def load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over an optimizer's state, but for how it computed: it may come from another kind of machine."""
    own = [{name: group[name] for name in flags("auto") if name in group} for group in optimizer.param_groups]
    # Before loading: by them torch decides on which device a count of steps lies.
    groups = [{**saved, **kept} for saved, kept in zip(state["param_groups"], own, strict=True)]
    optimizer.load_state_dict({**state, "param_groups": groups})


def _layers(groups: Groups) -> dict[int, Any]:
    """Return the layer of each weight."""
    return {id(each): group.get("layer") for group in groups for each in group["params"]}


def clip_gradients(optimizer: torch.optim.Optimizer, largest: float | None) -> None:
    """Scale the gradients of all weights together to a norm, where theirs is larger; None for any."""
    if largest is not None:
        nn.utils.clip_grad_norm_([each for group in optimizer.param_groups for each in group["params"]], largest)


def decided(settings: OptimizerSettings, student: nn.Module) -> OptimizerSettings:
    """Return settings whose ``kernels`` are no longer ``auto`` but what torch itself would take."""
    if settings.kernels != "auto":
        return settings
    on_gpu = any(parameter.is_cuda for parameter in student.parameters())
    return replace(settings, kernels="foreach" if on_gpu else "loop")


def flags(kernels: Kernels) -> dict[str, bool]:
    """Return how torch calls a way to compute the updates, in the optimizer and in its groups."""
    return {"foreach": kernels == "foreach", "fused": kernels == "fused"}
