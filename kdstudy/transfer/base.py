"""The base classes of transfer methods, and what they are given: context, batch, observations.

A step asks the method three things: draw this batch's random directions (shared by student and teacher),
observe each network, and give the named terms of the loss. Nothing else in the training loop knows the
methods apart.

Shapes: B samples, C channels, H and W positions, K classes, L crucial layers.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, final

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from kdstudy.data import Batch
from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor
from kdstudy.transfer.losses import soft_target_loss

Weight = Annotated[float, Ge(0)]
Temperature = Annotated[float, Gt(0)]


@final
@dataclass(frozen=True)
class TransferContext:
    """What a method may need to know before the first batch.

    Args:
        layers: Names of the student's crucial layers, in order of depth.
        student_shapes: (C, H, W) of each of them.
        teacher_shapes: (C, H, W) of the teacher's partner of each.
        image_shape: (C, H, W) of one image.
        num_classes: K.
        num_train: Number of training images; 0 where it is not known.
        student: The student's module, for methods that inspect it (activations, weights); never changed by
            them.
        teacher: The teacher's module, for the same.
        teacher_layers: Dotted module names of the teacher's partner of each of ``layers``.
    """

    layers: tuple[str, ...]
    student_shapes: tuple[tuple[int, int, int], ...]
    teacher_shapes: tuple[tuple[int, int, int], ...]
    image_shape: tuple[int, int, int]
    num_classes: int
    num_train: int
    student: nn.Module
    teacher: nn.Module
    teacher_layers: tuple[str, ...]


class Observation(NamedTuple):
    """What a method keeps of one network's pass over a batch.

    Attributes:
        logits: (B, K) plain tensor.
        maps: One tensor per crucial layer, whatever the method compares (attention maps, derivative maps,
            features).
    """

    logits: Tensor
    maps: tuple[Tensor, ...]


def in_turn(parts_WB: Tensor) -> Tensor:
    """Return the rows of all ranks, (W, B, ...), as one batch, (W B, ...): the first of each, then the second, ..."""
    return parts_WB.transpose(0, 1).flatten(0, 1)


def beside(drawn: Tensor, images: Tensor) -> Tensor:
    """Return what was drawn on the CPU, on the images' device; the host does not wait for the copy."""
    pinned = drawn.pin_memory() if images.is_cuda else drawn
    return pinned.to(images.device, non_blocking=True)


class Transfer(nn.Module, ABC):
    """A transfer method.

    Parameters and buffers of its own (adaptors, running norms) are saved in checkpoints. Subclasses take
    ``context`` and keyword-only options. The caller moves the method to the training device and sets its
    mode: `train` while the student trains, `eval` when the method only serves as an instrument.
    """

    cache_neutral_options: ClassVar[frozenset[str] | None] = None
    """Options that do not change what is observed of a teacher; None: its outputs are never cached.

    Name them only in a method whose observation of a frozen teacher depends on the batch, the draws and its other
    options alone, never on what has been trained or counted.
    """
    needs_directions: ClassVar[bool] = False
    """Whether it also depends on the draws or on an image's place in the batch: always cached in float32."""

    splits_batches: ClassVar[bool] = False
    """Whether what is observed of a sample depends on its image and its draws alone (batch norm apart), so that several
    ranks may each observe some of a batch; the loss is always of the whole. Then `terms` may not look at the images."""

    needs: ClassVar[Literal["layers", "embedding", "nothing"]] = "layers"
    """What it looks at besides logits: pairs of layers; where none match, the vectors that enter the classifiers will
    do (``embedding``), or nothing is looked at."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for old, new in (("indifferent", "cache_neutral_options"), ("directed", "needs_directions")):
            if old in cls.__dict__:
                warnings.warn(f"{cls.__name__}.{old} is now {new}", DeprecationWarning, stacklevel=2)
                setattr(cls, new, cls.__dict__[old])

    def __init__(self, context: TransferContext) -> None:
        super().__init__()
        self.layers = context.layers

    def draw(self, images: Tensor, generator: torch.Generator) -> Any:
        """Draw this batch's random directions on the CPU and move them to the images' device (`beside`), or None."""
        return None

    def part_of(self, draws: Any, rank: int, ranks: int) -> Any:
        """Return what was drawn for a rank's samples, those at ``rank``, ``rank + ranks``, ... of a batch.

        Raises:
            MapError: The method does not say.
        """
        if draws is not None:
            raise MapError(
                f"{type(self).__name__}: what it draws for a batch cannot be split over ranks; write resources.ranks: 1"
            )
        return None

    def whole(self, parts: Observation) -> Observation:
        """Return what one process would have observed of a batch.

        Args:
            parts: What each rank has observed, with one dimension more, of ranks, before all others.
        """
        return Observation(in_turn(parts.logits), tuple(map(in_turn, parts.maps)))

    @abstractmethod
    def observe(self, network: FeatureExtractor, images: Tensor, draws: Any) -> Observation:
        """Run ``network`` and keep what the loss needs; the caller sets modes and the teacher's no_grad."""

    @abstractmethod
    def terms(self, student: Observation, teacher: Observation, batch: Batch) -> dict[str, Tensor]:
        """Return the named, weighted scalar terms that are added to the cross-entropy."""

    def check(self) -> None:
        """Raise what a step noticed but did not wait for (see `MapTransfer`); called after each epoch."""
        return

    @property
    def term_layers(self) -> tuple[str, ...]:
        """The layers of which `terms` holds a loss of its own, >= 0, named ``anything/LAYER``; by default none.

        Policies that follow the layers' losses need one of every crucial layer.
        """
        return ()

    @property
    def uses_teacher(self) -> bool:
        """Whether the teacher is run in training steps."""
        return True


def splits_over_ranks(method: type[Transfer]) -> bool:
    """Return whether a method's class says so, itself or with the `observe` that it inherits unchanged."""
    said = next(each for each in method.__mro__ if {"splits_batches", "observe"} & each.__dict__.keys())
    return bool(said.__dict__.get("splits_batches", False))


class WeighedTransfer(Transfer, ABC):
    """A method whose loss has a weight, and to which soft targets can be added.

    The terms are ``name/part`` for each part of its loss, and ``kd`` when ``kd_weight`` is not 0.

    Every method repeats these options in its own signature and docstring: that signature, with its own defaults, is all
    that a study file may say of the method, and can be read without following base classes.

    Args:
        context: Networks and shapes.
        weight: Factor on every part; 0 measures without teaching.
        kd_weight: Factor on soft targets (see `kdstudy.transfer.losses.soft_target_loss`); 0 leaves them out.
        temperature: Of the soft targets, > 0; large values weigh all classes alike.
    """

    name: ClassVar[str]

    def __init__(
        self,
        context: TransferContext,
        *,
        weight: Weight = 1.0,
        kd_weight: Weight = 0.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__(context)
        self.weight, self.kd_weight, self.temperature = weight, kd_weight, temperature

    def require_layers(self) -> None:
        """Refuse a network without crucial layers, for methods that compare layers.

        Raises:
            MapError: There is no crucial layer.
        """
        if not self.layers:
            raise MapError(f"{self.name}: no layer of the student matches one of the teacher's; name pairs in layers")

    def weighed(
        self, losses: Mapping[str, Tensor], student: Observation, teacher: Observation, batch: Batch
    ) -> dict[str, Tensor]:
        """Return the terms: ``losses`` by part, weighed, and the soft targets' term if asked for."""
        terms = {f"{self.name}/{part}": self.weight * loss for part, loss in losses.items()}
        if self.kd_weight > 0:
            multilabel = batch.labels.is_floating_point()
            loss = soft_target_loss(student.logits, teacher.logits, self.temperature, multilabel=multilabel)
            terms["kd"] = self.kd_weight * loss
        return terms
