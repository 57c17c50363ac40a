"""The method without the platform: distillation inside a training loop of your own.

Shapes: B samples, C channels, H and W positions, K classes, N probe images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, final

import torch
from torch import Tensor, nn

from kdstudy.distill.networks import WHERE, device_of, image_shape_of, num_classes_of, require_groups, share_of
from kdstudy.errors import LoopError, StudyError
from kdstudy.layerwise import layer_groups, layer_sizes
from kdstudy.models import FeatureExtractor
from kdstudy.results import LayerRecord, finite
from kdstudy.study import Method, method_of
from kdstudy.training import (
    EpochTotals,
    LabelTerm,
    LayerNorms,
    LiveTeacherOutputs,
    Probe,
    StudentMapsEmptyError,
    TermLog,
    generator,
    loss_terms,
    param_groups,
    set_rates,
)
from kdstudy.transfer import Batch, TransferContext
from kdstudy.trial import (
    build_instrument,
    build_policy,
    build_transfer,
    context_of,
    layer_pairs,
    need_of,
    require_signals,
    updated,
)


@final
class Distillation:
    """A student that learns from a teacher in your own loop: the terms of its loss, and a learning rate per layer.

    For each batch: `terms`, whose sum is the loss; ``backward``; `step`. After each pass over the data: `end_epoch`.
    A loop that does what a trial does gives its numbers, bit for bit. The networks are yours: any modules that take
    images (B, C, H, W) and give logits (B, K), on the device where they train. The teacher is frozen and kept in eval
    mode; the student is run, and hooks record its layers until `close`, or the end of a ``with`` block.

    Args:
        student: The network that learns.
        teacher: The network that is learnt from; it shares no parameter with the student.
        transfer: A transfer method as a study file writes it, ``"kd"`` or ``{"attention": {"weight": 30}}``.
        policy: A learning-rate policy, likewise.
        layers: ``auto``, or pairs (student layer, teacher layer).
        image_shape: (C, H, W) of the images that both networks take.
        epochs: How many times `end_epoch` will be called, >= 1: policies set no rates after the last.
        probe: (N, C, H, W) training images, the same in every epoch and not augmented, on which a policy that follows
            the layers measures them; the first 512, or as many as its ``probe_size`` says, are taken.
        num_train: Number of training images, for methods that remember each of them (``crd``); `terms` is then to be
            told which they are.
        label_smoothing: Share of the label's weight that all classes share, in [0, 1).
        seed: Of the method's own weights, its random directions and the policy's draws.

    Attributes:
        layers: The crucial layers that are compared, in order of the student's depth.
        epoch: How many epochs have ended.

    Raises:
        KdstudyError: It cannot be done with these networks, or what is asked for is wrong; one line each.
    """

    def __init__(  # noqa: PLR0913 -- all but the networks by name
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        transfer: str | Mapping[str, Any] = "attention",
        policy: str | Mapping[str, Any] = "constant",
        layers: Literal["auto"] | Sequence[tuple[str, str]] = "auto",
        image_shape: tuple[int, int, int],
        epochs: int,
        probe: Tensor | None = None,
        num_train: int | None = None,
        label_smoothing: float = 0.0,
        seed: int = 0,
    ) -> None:
        method = method_of({"transfer": transfer, "policy": policy, "layers": layers}, WHERE)
        shape = image_shape_of(image_shape)
        num_classes = num_classes_of(student, teacher, shape)
        need = need_of(method.transfer, method.policy)
        pairs = layer_pairs(student, teacher, shape, layers=method.layers, need=need)
        context = context_of(pairs, student, teacher, shape, num_classes=num_classes, num_train=num_train or 0)
        self.student, self.teacher, self.layers, self.epoch = student, teacher, pairs, 0
        self._epochs, self._seed, self._indexed, self._device = epochs, seed, num_train is not None, device_of(student)
        self._labels = LabelTerm(smoothing=share_of(label_smoothing))
        name, options = method.transfer.name, method.transfer.options
        self._transfer = build_transfer(name, options, context, seed=seed).to(self._device)
        sizes = layer_sizes(student, context.layers, shape)
        self._policy = build_policy(method.policy, context.layers, sizes, seed=seed)
        problems = self._policy.problems(method.policy.options, epochs=epochs, num_layers=len(pairs))
        if problems:
            raise StudyError([f"{WHERE}: policy.{problem}" for problem in problems])
        require_signals(method.transfer, method.policy, self._policy, self._transfer)
        self._groups = param_groups(student, layer_groups(student, context.layers, shape), self._transfer)
        self._probe = self._build_probe(method, context, probe)
        teacher.to(self._device).eval().requires_grad_(False)
        layouts = {pair.student: pair.student_layout for pair in pairs}
        self._student = FeatureExtractor(student, context.layers, layouts=layouts)
        layouts = {pair.teacher: pair.teacher_layout for pair in pairs}
        self._teacher = FeatureExtractor(teacher, context.teacher_layers, layouts=layouts)
        runs = self._transfer.uses_teacher
        self._outputs = LiveTeacherOutputs(self._teacher, self._transfer) if runs else None
        self._first_terms: dict[str, float | None] | None = None
        self._begin_epoch()

    def _build_probe(self, method: Method, context: TransferContext, images: Tensor | None) -> Probe | None:
        policy = self._policy
        if not any(policy.due(epoch, self._epochs) for epoch in range(1, self._epochs + 1)):
            return None
        if images is None or not len(images):
            asked = f"policy '{method.policy.called}' measures the layers on a fixed set of images, and has none"
            raise LoopError(f"{WHERE}: {asked}; pass probe=, up to {policy.probe_size} training images")
        instrument = build_instrument(method.transfer, policy, context, seed=self._seed).to(self._device)
        chosen = images[: policy.probe_size].to(self._device)
        return Probe(instrument, chosen, generator(self._seed, "probe-directions"), policy.b1)

    def _begin_epoch(self) -> None:
        self._directions = generator(self._seed, "directions", self.epoch + 1)
        self._sums: dict[str, Tensor] = {}
        self._log, self._batches, self._steps = TermLog(), 0, 0
        due = self._policy.needs_norms and self._policy.due(self.epoch + 1, self._epochs)
        self._norms = LayerNorms(self._groups) if due else None
        self._rate = self._weight_decay = 0.0

    @property
    def multipliers(self) -> dict[str, float]:
        """The present factor of each crucial layer on the learning rate; the head and adaptors keep 1."""
        return dict(self._policy.multipliers)

    def param_groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups for an optimizer of ``torch.optim``: ``params``, and ``layer`` that names each.

        One for each crucial layer with what comes before it, one for the head, one for the method's own weights. They
        may be divided further, or given options, as long as each keeps its ``layer``; groups without one are left
        alone by `step`.
        """
        return [{**group, "params": list(group["params"])} for group in self._groups]

    def terms(self, images: Tensor, labels: Tensor, indices: Tensor | None = None) -> dict[str, Tensor]:
        """Run both networks on a batch, and return the terms of the loss: their sum is to be minimised.

        Args:
            images: (B, C, H, W) as the networks take them, on their device.
            labels: (B,) int64 classes, or (B, K) float32 in {0, 1} for any number of classes per image.
            indices: (B,) int64 position of each image in the training set, from 0; where ``num_train`` was given.

        Returns:
            ``cross_entropy`` with the labels, then the method's own by name, weights included; scalars.

        Raises:
            LoopError: The student is in eval mode, all epochs have ended, or ``indices`` are missing.
            MapError: A layer gave zero everywhere for the whole batch.
        """
        if not self.student.training:
            raise LoopError(f"{WHERE}.terms: the student is in eval mode, but is to learn; call student.train() first")
        if self.epoch == self._epochs:
            raise LoopError(f"{WHERE}.terms: all {self._epochs} epoch(s) have ended; pass epochs= as many as there are")
        if self._indexed and indices is None:
            told = "num_train was given, so each image's position in the training set is needed, got none"
            raise LoopError(f"{WHERE}.terms: {told}; pass indices")
        if any(module.training for module in self.teacher.modules()):
            self.teacher.eval()  # it may be part of a module that was put to train mode
        self._transfer.train()
        batch = Batch(images, labels, labels.new_empty(0) if indices is None else indices)
        of_step: dict[str, Any] = {"step": self._batches, "directions": self._directions, "labels": self._labels}
        terms = loss_terms(self._student, self._outputs, self._transfer, batch, **of_step)
        noted = {name: value.detach().double() for name, value in terms.items()}
        self._log.add(noted)
        self._sums = {name: self._sums[name] + value if self._sums else value for name, value in noted.items()}
        self._batches += 1
        return terms

    def set_rates(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        """Set the learning rate of each group for the optimizer's next step: ``lr`` times its layer's multiplier.

        For loops that step the optimizer themselves: after the backward pass and before the optimizer's step, once per
        step. Others call `step`.

        Args:
            optimizer: Made of `param_groups`.
            lr: The scheduled rate, before multipliers. A scheduler of torch's would read the rates that are set here.

        Raises:
            LoopError: The optimizer has not these groups, or is not what the policy follows.
        """
        require_groups(optimizer, self._groups, needs_norms=self._policy.needs_norms)
        set_rates(optimizer, lr, self._policy.multipliers)
        if self._norms is not None:
            self._norms.add()
        decays = [group.get("weight_decay", 0.0) for group in optimizer.param_groups if "layer" in group]
        self._rate, self._weight_decay = lr, float(decays[0])
        self._steps += 1

    def step(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        """Set the rates and take the optimizer's step, after the backward pass; see `set_rates`."""
        self.set_rates(optimizer, lr)
        optimizer.step()

    def end_epoch(self) -> tuple[LayerRecord, ...]:
        """End an epoch: where the policy is due, measure the layers and set their multipliers for the next.

        Returns:
            What was measured and set of each crucial layer; empty where the policy is not due.

        Raises:
            LoopError: No step was taken since the last epoch, or the student has diverged.
            MapError: A layer of the teacher gives zero everywhere for most of the probe images.
        """
        if not self._steps:
            missing = "step was" if self._batches else "terms and step were"
            raise LoopError(f"{WHERE}.end_epoch: {missing} not called in epoch {self.epoch + 1}; train it first")
        self._transfer.check()
        epoch = self.epoch + 1
        if trouble := self._log.trouble(epoch):
            raise LoopError(f"{WHERE}.end_epoch: {trouble}; lower the learning rate or the transfer's weight")
        terms = {name: finite(float(total) / self._batches) for name, total in self._sums.items()}
        first = terms if self._first_terms is None else self._first_terms
        layers = self._update(epoch, terms, first)
        self._first_terms, self.epoch = first, epoch
        self._begin_epoch()
        return layers

    def _update(
        self, epoch: int, terms: dict[str, float | None], first: dict[str, float | None]
    ) -> tuple[LayerRecord, ...]:
        if self._probe is None or not self._policy.due(epoch, self._epochs):
            return ()
        try:
            measured = self._probe.measure(self._student, self._teacher)
        except StudentMapsEmptyError as error:
            raise LoopError(f"{WHERE}.end_epoch: {error} after epoch {epoch}; lower the learning rate") from error
        norms = {} if self._norms is None else self._norms.means()
        totals = EpochTotals(sum(value or 0.0 for value in terms.values()), terms, self._rate, {}, norms=norms)
        return updated(self._policy, measured, totals, first, self._weight_decay)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint between epochs has to hold beside student and optimizer; plain values and tensors.

        Raises:
            LoopError: An epoch has begun and not ended; random streams start afresh with each.
        """
        if self._batches:
            told = f"epoch {self.epoch + 1} has not ended"
            raise LoopError(f"{WHERE}.state_dict: {told}; save after end_epoch, where random streams start afresh")
        return {
            "epoch": self.epoch,
            "layers": [[pair.student, pair.teacher] for pair in self.layers],
            "first_terms": self._first_terms,
            "policy": self._policy.state_dict(),
            "transfer": self._transfer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`'s values; the next epoch is the one after them.

        Raises:
            LoopError: They are of other networks, another method or another policy.
        """
        layers = [[pair.student, pair.teacher] for pair in self.layers]
        try:
            if state["layers"] != layers:
                raise ValueError("other layers")
            epoch, first = int(state["epoch"]), state["first_terms"]
            self._policy.load_state_dict(state["policy"])
            self._transfer.load_state_dict(state["transfer"])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            told = f"the state is not of this student, teacher, transfer and policy ({type(error).__name__}: {reason})"
            raise LoopError(f"{WHERE}.load_state_dict: {told}; build it as it was when the state was saved") from error
        self.epoch, self._first_terms = epoch, first
        self._begin_epoch()

    def close(self) -> None:
        """Take the recording hooks off both networks, which are the caller's."""
        self._student.release()
        self._teacher.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
