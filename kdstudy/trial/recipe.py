"""How a trial's student is updated, from its configuration: optimizer, schedule, warm-up."""

from __future__ import annotations

from collections.abc import Callable

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


def require_optimizer(config: TrialConfig) -> None:
    """Build the optimizer of a trial once, over one weight.

    Raises:
        StudyError: It is not one of torch's kind, or has not the kernels that the study asks for.
    """
    name, kernels = config.train.optimizer.name, config.numerics.optimizer
    if kernels != "auto" and not OPTIMIZERS.takes(name, "kernels"):
        told = f"numerics.optimizer: '{name}' takes no kernels, got {kernels}"
        raise StudyError([f"{told}; write auto, or give it an argument `kernels`"])
    build_optimizer([{"params": [nn.Parameter(torch.zeros(1))], "layer": "layer"}], optimizer_settings(config))


def require_coupled(config: TrialConfig, policy: Policy) -> None:
    """Refuse a policy that weighs gradients under an optimizer whose steps they are not.

    Raises:
        StudyError: The policy follows norms of gradients, and the optimizer is another than SGD.
    """
    optimizer = config.train.optimizer.name
    if policy.needs_norms and optimizer != "sgd":
        told = f"{config.policy.called}: follows the norms of gradients, which are not the steps of '{optimizer}'"
        raise StudyError([f"{told}; use it with train.optimizer: sgd, or leave it out"])
