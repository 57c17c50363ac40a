"""How a trial's student is updated, from its configuration: optimizer, schedule, warm-up."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from kdstudy.errors import StudyError
from kdstudy.layerwise import Policy
from kdstudy.plugins import OPTIMIZERS
from kdstudy.study import TrialConfig
from kdstudy.training import OptimizerSettings, build_optimizer, schedule


def optimizer_settings(config: TrialConfig) -> OptimizerSettings:
    """Return the optimizer of a trial."""
    train = config.train
    return OptimizerSettings(
        train.base_lr,
        train.momentum,
        train.weight_decay,
        train.nesterov,
        config.numerics.optimizer,
        train.optimizer.name,
        train.optimizer.options,
        train.clip_norm,
    )


def rate_factor(config: TrialConfig) -> Callable[[float], float]:
    """Return the factor on a trial's base rate, warm-up included, as a function of epochs done."""
    train = config.train
    return schedule(train.schedule.name, train.schedule.options, train.epochs, train.warmup_epochs)


def require_optimizer(config: TrialConfig, groups: list[dict[str, Any]]) -> None:
    """Build the optimizer of a trial once; let one of the user's own take a step, on copies.

    Args:
        config: The trial.
        groups: Of its student and its method.

    Raises:
        StudyError: It does not do, or has not the kernels that the study asks for.
    """
    name, kernels = config.train.optimizer.name, config.numerics.optimizer
    if kernels != "auto" and not OPTIMIZERS.takes(name, "kernels"):
        told = f"numerics.optimizer: '{name}' takes no kernels, got {kernels}"
        raise StudyError([f"{told}; write auto, or give it an argument `kernels`"])
    if ":" not in name:
        build_optimizer(groups, optimizer_settings(config))
        return
    copies = [
        {**group, "params": [nn.Parameter(torch.zeros_like(each)) for each in group["params"]]} for group in groups
    ]
    optimizer = build_optimizer(copies, optimizer_settings(config))
    for each in (each for group in copies for each in group["params"]):
        each.grad = torch.zeros_like(each)
    optimizer.step()
    _require_kept(config, optimizer)


def _require_kept(config: TrialConfig, optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer whose state no checkpoint gives back."""
    written = io.BytesIO()
    try:
        torch.save(optimizer.state_dict(), written)
        written.seek(0)
        torch.load(written, weights_only=True)
    except (pickle.PickleError, AttributeError, TypeError) as error:
        kind = re.search(r"(?:GLOBAL|class|object) '?([\w.]+)", str(error))
        what = kind[1] if kind else type(error).__name__
        told = f"a checkpoint cannot keep the state of '{config.train.optimizer.name}' ({what})"
        raise StudyError([f"{told}; keep plain values and tensors in its groups and its state"]) from error


def require_coupled(config: TrialConfig, policy: Policy) -> None:
    """Refuse a policy that weighs gradients under an optimizer whose steps they are not.

    Raises:
        StudyError: The policy follows norms of gradients, and the optimizer is another than SGD.
    """
    optimizer = config.train.optimizer.name
    if policy.needs_norms and optimizer != "sgd":
        told = f"{config.policy.called}: follows the norms of gradients, which are not the steps of '{optimizer}'"
        raise StudyError([f"{told}; use it with train.optimizer: sgd, or leave it out"])
