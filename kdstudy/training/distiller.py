"""The distillation loop: one student, one frozen teacher, one transfer method, one learning rate per layer group.

Shapes: B samples, C channels, H and W positions, K classes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor

from kdstudy.data import Batch
from kdstudy.models import FeatureExtractor
from kdstudy.results import finite
from kdstudy.training.batch_share import BatchShare
from kdstudy.training.epoch_totals import EpochTotals
from kdstudy.training.norms import LayerNorms, Norms
from kdstudy.training.objective import LabelTerm
from kdstudy.training.optimizer import (
    OptimizerSettings,
    build_optimizer,
    clip_gradients,
    decided,
    kernels_of,
    load_state,
)
from kdstudy.training.step import loss_terms, param_groups, set_rates
from kdstudy.training.teacher_outputs import LiveTeacherOutputs, Observer, TeacherOutputs
from kdstudy.training.term_log import TermLog
from kdstudy.transfer import EmptyMapError, Transfer


@final
class Distiller:
    """Trains a student by cross-entropy plus the terms of a transfer method.

    The learning rate of group j at a step is ``base_lr * schedule(progress) * multiplier_j``; it is set anew at every
    step, so neither scheduler nor controller ever edits the other's state. Head and adaptors keep multiplier 1.

    Args:
        student: Trained in place.
        teacher: Frozen by this constructor and kept in eval mode; None for plain training without one.
        transfer: Adds its terms; its own parameters form a group of their own.
        groups: Layer (or ``head``) to names of the student's parameters; each parameter in exactly one group.
        optimizer: Its settings.
        schedule: Factor on the base rate as a function of epochs done.
        teacher_outputs: Where the teacher's observations come from; None runs it in each step.
        share: This rank's share of every batch; None where the whole is its own.
        labels: How they count in the loss.
    """

    def __init__(  # noqa: PLR0913 -- the parts of a step
        self,
        student: FeatureExtractor,
        teacher: FeatureExtractor | None,
        transfer: Transfer,
        *,
        groups: Mapping[str, Iterable[str]],
        optimizer: OptimizerSettings,
        schedule: Callable[[float], float],
        teacher_outputs: TeacherOutputs | None = None,
        share: BatchShare | None = None,
        labels: LabelTerm = LabelTerm(),  # noqa: B008 -- it cannot change
    ) -> None:
        self.student = student
        self.teacher = teacher
        self.transfer = transfer
        self._settings = decided(optimizer, student.module)
        self._labels = labels
        self._schedule = schedule
        if teacher is not None:
            teacher.module.eval().requires_grad_(False)
        self._share = share
        self._observer: Observer = transfer if share is None else share
        live = None if teacher is None or not transfer.uses_teacher else LiveTeacherOutputs(teacher, self._observer)
        self._teacher_outputs = live if teacher_outputs is None else teacher_outputs
        self.optimizer = build_optimizer(param_groups(student.module, groups, transfer), self._settings)
        self._norms: LayerNorms | None = None

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Take over an optimizer's state, but for how it computed: it may come from another kind of machine."""
        load_state(self.optimizer, state)

    @property
    def kernels(self) -> str:
        """How the optimizer computes, ``auto`` decided."""
        return kernels_of(self._settings)

    def begin_epoch(
        self,
        epoch: int,
        batches: Iterable[Batch],
        *,
        steps: int,
        directions: torch.Generator,
        multipliers: Mapping[str, float],
        norms: bool = False,
    ) -> EpochInProgress:
        """Begin one pass over ``batches``, to be trained a step at a time or by `EpochInProgress.run`.

        Args:
            epoch: From 1.
            batches: On the training device.
            steps: Number of batches.
            directions: Stream of the transfer's random directions.
            multipliers: Factor on the base rate by layer; layers not named keep 1.
            norms: Whether norms of each group's weights and gradients are gathered.
        """
        self._norms = LayerNorms(self.optimizer.param_groups) if norms else None
        self.student.module.train()
        self.transfer.train()
        assert self.teacher is None or not any(m.training for m in self.teacher.module.modules()), "teacher left eval"
        if self._teacher_outputs is not None:
            self._teacher_outputs.begin_epoch(epoch)
        return EpochInProgress(self, epoch, batches, steps=steps, directions=directions, multipliers=multipliers)

    def lr_at(self, progress: float) -> float:
        """Return the scheduled learning rate, before multipliers, after ``progress`` epochs."""
        return self._settings.base_lr * self._schedule(progress)

    def set_rates(self, progress: float, multipliers: Mapping[str, float]) -> None:
        """Set each group's learning rate for a step that begins after ``progress`` epochs."""
        set_rates(self.optimizer, self.lr_at(progress), multipliers)

    def norms(self) -> dict[str, Norms]:
        """Return the means of this epoch's norms by group; empty where they were not gathered."""
        return {} if self._norms is None else self._norms.means()

    def train_step(self, step: int, batch: Batch, directions: torch.Generator) -> dict[str, Tensor]:
        """Take one optimizer step and return the detached terms, on the device (no host synchronisation)."""
        terms, loss = self.losses(step, batch, directions)
        loss.backward()
        if self._share is not None:
            self._share.gather_gradients(self.student.module)
        return self.update(terms)

    def losses(
        self, step: int, batch: Batch, directions: torch.Generator, student: FeatureExtractor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the terms of a step's loss and their sum, and forget the gradients of the step before.

        Args:
            step: Of the epoch, from 0.
            batch: On the training device.
            directions: Stream of the transfer's random directions.
            student: Stands in for the student, which has run already; None to run it.
        """
        terms = loss_terms(
            student or self.student,
            self._teacher_outputs,
            self.transfer,
            batch,
            step=step,
            directions=directions,
            observer=self._observer,
            labels=self._labels,
        )
        self.optimizer.zero_grad(set_to_none=True)
        return terms, torch.stack(list(terms.values())).sum()

    def update(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take the optimizer's step, the gradients being there, and return the terms detached."""
        clip_gradients(self.optimizer, self._settings.clip_norm)
        if self._norms is not None:
            self._norms.add()
        self.optimizer.step()
        return {name: value.detach().double() for name, value in terms.items()}


@final
class EpochInProgress:
    """One pass over the training batches, trained a step at a time: see `Distiller.begin_epoch`."""

    def __init__(
        self,
        distiller: Distiller,
        epoch: int,
        batches: Iterable[Batch],
        *,
        steps: int,
        directions: torch.Generator,
        multipliers: Mapping[str, float],
    ) -> None:
        self._distiller, self._epoch, self._steps = distiller, epoch, steps
        self._batches = iter(batches)
        self._directions, self._multipliers = directions, multipliers
        self._sums: dict[str, Tensor] = {}
        self._done = 0
        self._log = TermLog()
        self._collapsed: str | None = None
        self._terms: dict[str, Tensor] = {}

    def step(self) -> bool:
        """Train on the next batch; return False where none was left, or the student's maps have vanished.

        Raises:
            EmptyMapError: The teacher's maps are zero over a whole batch.
        """
        batch = self.next_batch()
        if batch is None:
            return False
        with self._noting_collapse():
            self._note(self._distiller.train_step(self._done, batch, self._directions))
        self._done += 1
        return not self._collapsed

    def next_batch(self) -> Batch | None:
        """Set the rates of the next step and return its batch; None where `step` would return False."""
        batch = None if self._collapsed else next(self._batches, None)
        if batch is not None:
            self._distiller.set_rates(self._epoch - 1 + self._done / self._steps, self._multipliers)
        return batch

    def loss(self, batch: Batch, student: FeatureExtractor) -> Tensor | None:
        """Return the loss of a step whose student has run with others; None where its maps have vanished.

        `update` ends the step, once the gradients are there. The two do what `step` does.

        Args:
            batch: From `next_batch`.
            student: Stands in for the student, and gives what it has given.

        Raises:
            EmptyMapError: As `step`.
        """
        total: Tensor | None = None
        with self._noting_collapse():
            self._terms, total = self._distiller.losses(self._done, batch, self._directions, student)
        self._done += total is None
        return total

    def update(self) -> None:
        """Take the optimizer's step after `loss`."""
        self._note(self._distiller.update(self._terms))
        self._done += 1

    def _note(self, terms: Mapping[str, Tensor]) -> None:
        self._log.add(terms)
        for name, value in terms.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def run(self) -> EpochTotals:
        """Train all steps that are left and return `totals`."""
        while self.step():
            pass
        return self.totals()

    def totals(self) -> EpochTotals:
        """Return the means over the epoch; the loss is not finite where the student has diverged.

        It has if a loss was not finite, or if all its maps of a layer were zero.

        Raises:
            EmptyMapError: The teacher's maps were zero over a whole batch.
        """
        if not self._collapsed:
            with self._noting_collapse():
                self._distiller.transfer.check()
        means = {name: float(total) / self._steps for name, total in self._sums.items()}
        loss = math.nan if self._collapsed else sum(means.values())
        return EpochTotals(
            loss=loss,
            terms={name: finite(value) for name, value in means.items()},
            rate=self._distiller.lr_at(self._epoch - 1 + (self._steps - 1) / self._steps),
            rates={str(group["layer"]): float(group["lr"]) for group in self._distiller.optimizer.param_groups},
            trouble=None if math.isfinite(loss) else self._trouble(),
            norms=self._distiller.norms(),
        )

    def _trouble(self) -> str:
        found = self._log.trouble(self._epoch)  # a layer may have died of it
        return found or self._collapsed or f"the loss was not finite in epoch {self._epoch}"

    @contextlib.contextmanager
    def _noting_collapse(self) -> Iterator[None]:
        """Note where the student's maps have vanished: it has diverged, which is a result and no error."""
        try:
            yield
        except EmptyMapError as error:
            if error.owner == "teacher":
                raise
            self._collapsed = (
                f"the student's map at layer '{error.layer}' was zero over a whole batch in epoch {self._epoch}, step "
                f"{self._done + 1}"
            )
