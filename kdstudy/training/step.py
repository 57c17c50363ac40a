"""One step of distillation in its parts: the terms of the loss, the groups of parameters, the rate of each.

`kdstudy.training.Distiller` makes its steps of them, and `kdstudy.distill.Distillation` a user's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdstudy.data import Batch
from kdstudy.models import FeatureExtractor
from kdstudy.training.batch_share import whole_images
from kdstudy.training.objective import LabelTerm
from kdstudy.training.teacher_outputs import Observer, TeacherOutputs
from kdstudy.transfer import Transfer

ADAPTORS = "transfer"
"""The group of the transfer method's own parameters; its multiplier is always 1."""


def loss_terms(  # noqa: PLR0913 -- what a step needs
    student: FeatureExtractor,
    teacher: TeacherOutputs | None,
    transfer: Transfer,
    batch: Batch,
    *,
    step: int,
    directions: torch.Generator,
    observer: Observer | None = None,
    labels: LabelTerm = LabelTerm(),  # noqa: B008 -- it cannot change
) -> dict[str, Tensor]:
    """Return the terms whose sum is the loss of a batch, each a scalar: the cross-entropy first.

    Args:
        student: Runs the batch once.
        teacher: Where its observations come from; None for the cross-entropy alone.
        transfer: The method.
        batch: On the networks' device.
        step: Which of its epoch's it is, from 0.
        directions: Stream of the method's random directions.
        observer: Observes the student in the method's place, where the batch is one rank's share of a larger one.
        labels: How they count.
    """
    draws = transfer.draw(whole_images(batch), directions)
    observed = (observer or transfer).observe(student, batch.images, draws)
    terms = {"cross_entropy": labels.of(observed.logits, batch.labels)}
    if teacher is not None:
        terms |= transfer.terms(observed, teacher.observation(step, batch, draws), batch)
    return terms


def param_groups(student: nn.Module, groups: Mapping[str, Iterable[str]], transfer: Transfer) -> list[dict[str, Any]]:
    """Return an optimizer's groups, ``params`` and ``layer``: the layers, the head, the method's adaptors; none empty.

    Args:
        student: Whose parameters they are.
        groups: Layer (or ``head``) to names of its parameters; each parameter in exactly one group.
        transfer: The method.
    """
    parameters = dict(student.named_parameters())
    layout: list[dict[str, Any]] = [
        {"params": [parameters.pop(name) for name in names], "layer": layer} for layer, names in groups.items()
    ]
    assert not parameters, f"parameters outside every group: {sorted(parameters)}"
    layout.append({"params": list(transfer.parameters()), "layer": ADAPTORS})
    return [group for group in layout if group["params"]]


def set_rates(optimizer: torch.optim.Optimizer, lr: float, multipliers: Mapping[str, float]) -> None:
    """Set the learning rate of each group that has a ``layer``, for the step that comes.

    Args:
        optimizer: Made of `param_groups`.
        lr: The scheduled rate, before multipliers.
        multipliers: Factor by layer; layers not named keep 1.
    """
    for group in optimizer.param_groups:
        if "layer" in group:
            group["lr"] = lr * multipliers.get(group["layer"], 1.0)
