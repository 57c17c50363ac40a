"""The distillation loop: one student, one frozen teacher, one transfer method, one learning rate a layer group.

Shapes: B samples, C channels, H and W positions, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from kdstudy.models import Network
from kdstudy.results import finite
from kdstudy.training.objective import label_loss
from kdstudy.training.teacher_outputs import LiveTargets, Targets
from kdstudy.transfer import Batch, EmptyMapError, Transfer

HEAD = "head"
ADAPTORS = "transfer"
Result = TypeVar("Result")


@dataclass(frozen=True)
class SgdSettings:
    """Stochastic gradient descent with momentum.

    Args:
        base_lr: Learning rate before schedule and multipliers, > 0.
        momentum: Of the optimizer (not the controller's), in [0, 1).
        weight_decay: Coupled L2 penalty; a layer's multiplier scales it with the rate.
        nesterov: Nesterov's form.
    """

    base_lr: float
    momentum: float
    weight_decay: float
    nesterov: bool


@dataclass(frozen=True)
class EpochTotals:
    """Means over the steps of one epoch, and the rates of its last step."""

    loss: float
    terms: dict[str, float | None]
    rate: float
    rates: dict[str, float]


def drained(steps: Generator[None, None, Result]) -> Result:
    """Run a generator to its end and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


class Distiller:
    """Trains a student by cross-entropy plus the terms of a transfer method.

    The rate of group j at a step is ``base_lr * schedule(progress) * multiplier_j``; it is set anew at every step, so
    neither scheduler nor controller ever edits the other's state. Head and adaptors keep multiplier 1.

    Args:
        student: Trained in place.
        teacher: Frozen by this constructor and kept in eval mode; None for plain training without one.
        transfer: Adds its terms; its own parameters form a group of their own.
        groups: Layer (or ``head``) to names of the student's parameters; each parameter in exactly one group.
        sgd: Optimizer settings.
        schedule: Factor on the base rate as a function of epochs done.
        targets: Where the teacher's observations come from; None runs it in each step.
    """

    def __init__(  # noqa: PLR0913 -- the parts of a step
        self,
        student: Network,
        teacher: Network | None,
        transfer: Transfer,
        *,
        groups: Mapping[str, Iterable[str]],
        sgd: SgdSettings,
        schedule: Callable[[float], float],
        targets: Targets | None = None,
    ) -> None:
        self.student = student
        self.teacher = teacher
        self.transfer = transfer
        self._sgd = sgd
        self._schedule = schedule
        if teacher is not None:
            teacher.module.eval().requires_grad_(False)
        live = None if teacher is None or not transfer.uses_teacher else LiveTargets(teacher, transfer)
        self._targets = live if targets is None else targets
        self.optimizer = self._build_optimizer(groups)

    def _build_optimizer(self, groups: Mapping[str, Iterable[str]]) -> torch.optim.SGD:
        parameters = dict(self.student.module.named_parameters())
        layout: list[dict[str, object]] = [
            {"params": [parameters.pop(name) for name in names], "layer": layer} for layer, names in groups.items()
        ]
        assert not parameters, f"parameters outside every group: {sorted(parameters)}"
        adaptors = list(self.transfer.parameters())
        if adaptors:
            layout.append({"params": adaptors, "layer": ADAPTORS})
        return torch.optim.SGD(
            [group for group in layout if group["params"]],
            lr=self._sgd.base_lr,
            momentum=self._sgd.momentum,
            weight_decay=self._sgd.weight_decay,
            nesterov=self._sgd.nesterov,
        )

    def train_epoch(
        self,
        epoch: int,
        batches: Iterable[tuple[Tensor, Tensor, Tensor]],
        *,
        steps: int,
        directions: torch.Generator,
        multipliers: Mapping[str, float],
    ) -> EpochTotals:
        """Train one pass over ``batches``: all of `epoch_in_steps`."""
        return drained(self.epoch_in_steps(epoch, batches, steps=steps, directions=directions, multipliers=multipliers))

    def epoch_in_steps(
        self,
        epoch: int,
        batches: Iterable[tuple[Tensor, Tensor, Tensor]],
        *,
        steps: int,
        directions: torch.Generator,
        multipliers: Mapping[str, float],
    ) -> Generator[None, None, EpochTotals]:
        """Train one pass over ``batches``, and yield after each step.

        Args:
            epoch: From 1.
            batches: (images, labels, indices) on the training device.
            steps: Number of batches.
            directions: Stream of the transfer's random directions.
            multipliers: Factor on the base rate by layer; layers not named keep 1.

        Returns:
            Totals whose loss is not finite where the student has diverged: a loss was not, or its maps vanished.

        Raises:
            EmptyMapError: The teacher's maps are zero over a whole batch.
        """
        self.student.module.train()
        self.transfer.train()
        assert self.teacher is None or not any(m.training for m in self.teacher.module.modules()), "teacher left eval"
        if self._targets is not None:
            self._targets.begin(epoch)
        sums: dict[str, Tensor] = {}
        collapsed = False
        try:
            for step, items in enumerate(batches):
                self._set_rates(epoch - 1 + step / steps, multipliers)
                for name, value in self._step(step, Batch(*items), directions).items():
                    sums[name] = sums[name] + value if name in sums else value
                yield
            self.transfer.check()
        except EmptyMapError as error:
            if error.owner == "teacher":
                raise
            collapsed = True
        means = {name: float(total) / steps for name, total in sums.items()}
        return EpochTotals(
            loss=math.nan if collapsed else sum(means.values()),
            terms={name: finite(value) for name, value in means.items()},
            rate=self._sgd.base_lr * self._schedule(epoch - 1 + (steps - 1) / steps),
            rates={str(group["layer"]): float(group["lr"]) for group in self.optimizer.param_groups},
        )

    def _set_rates(self, progress: float, multipliers: Mapping[str, float]) -> None:
        rate = self._sgd.base_lr * self._schedule(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * multipliers.get(group["layer"], 1.0)

    def _step(self, step: int, batch: Batch, directions: torch.Generator) -> dict[str, Tensor]:
        """Take one optimizer step and return the detached terms, on the device (no host synchronisation)."""
        draws = self.transfer.draw(batch.images, directions)
        terms: dict[str, Tensor] = {}
        student = self.transfer.observe(self.student, batch.images, draws)
        terms["cross_entropy"] = label_loss(student.logits, batch.labels)
        if self._targets is not None:
            terms |= self.transfer.terms(student, self._targets.of(step, batch, draws), batch)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {name: value.detach().double() for name, value in terms.items()}
