"""The base classes of transfer methods, and what they are given: context, batch, observations.

A step asks the method three things: draw this batch's random directions (shared by student and teacher),
observe each network, and give the named terms of the loss. Nothing else in the training loop knows the
methods apart.

Shapes: B samples, C channels, H and W positions, K classes, L crucial layers.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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


class EmptyMapError(MapError):
    """A map is zero at every position of every sample of a batch, so there is nothing to compare.

    Args:
        method: Name of the transfer method.
        owner: ``student`` (the layer died in training) or ``teacher`` (the layer cannot serve).
        layer: Name of the student's crucial layer.
    """

    def __init__(self, method: str, owner: str, layer: str) -> None:
        remedy = "lower train.base_lr or leave the layer out" if owner == "student" else "leave the layer out"
        super().__init__(
            f"{method}: the {owner}'s map at layer '{layer}' is zero over a whole batch; {remedy} (layers)"
        )
        self.owner = owner
        self.layer = layer


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


class MapTransfer(WeighedTransfer, ABC):
    """A method whose `Observation.maps` are maps over positions, one row per sample.

    Any of them can also be the instrument that feeds the layer-wise controller: observed on a fixed probe set
    in eval mode, its maps become the distributions whose divergence is measured. Maps of partner layers have
    one shape: where heights or widths differ, the larger map is average-pooled to the smaller one.

    The terms are ``name/layer`` for each crucial layer, and ``kd`` when ``kd_weight`` is not 0. A map that is
    zero over a whole batch raises `EmptyMapError`: at once on the CPU and in the first batch; on an
    accelerator, where looking would stall the device at each step, later batches are looked at by `check`.

    Args:
        context: Networks and shapes.
        weight: Factor on the sum over layers; 0 measures without teaching.
        kd_weight: Factor on soft targets (see `kdstudy.transfer.losses.soft_target_loss`); 0 leaves them out.
        temperature: Of the soft targets, > 0; large values weigh all classes alike.

    Raises:
        MapError: There is no crucial layer.
    """

    empty: Tensor

    def __init__(
        self,
        context: TransferContext,
        *,
        weight: Weight = 1.0,
        kd_weight: Weight = 0.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__(context, weight=weight, kd_weight=kd_weight, temperature=temperature)
        self.require_layers()
        shapes = zip(context.student_shapes, context.teacher_shapes, strict=True)
        self.sizes = tuple((min(s[1], t[1]), min(s[2], t[2])) for s, t in shapes)
        self.register_buffer("empty", torch.zeros(2, len(self.layers), dtype=torch.bool), persistent=False)
        self._looked = False

    @abstractmethod
    def losses(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return one unweighted scalar per layer, the mean over samples of the distance of two maps."""

    def terms(self, student: Observation, teacher: Observation, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted distance of each layer's maps, and the soft targets' term if asked for."""
        self._look_for_empty(student.maps, teacher.maps)
        losses = self.losses(student.maps, teacher.maps)
        return self.weighed(dict(zip(self.layers, losses, strict=True)), student, teacher, batch)

    @property
    def term_layers(self) -> tuple[str, ...]:
        """All of them."""
        return self.layers

    @torch.no_grad()
    def _look_for_empty(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
        peaks = torch.stack([torch.stack([m.abs().amax() for m in maps]) for maps in (student, teacher)])
        self.empty |= peaks == 0
        if peaks.device.type == "cpu" or not self._looked:
            self._looked = True
            self.check()

    def check(self) -> None:
        """Raise if a map has been zero over a whole batch.

        Raises:
            EmptyMapError: Naming the network and the layer: the teacher's first, then the shallowest.
        """
        flags = dict(zip(("student", "teacher"), self.empty.tolist(), strict=True))
        self.empty.zero_()
        for owner in ("teacher", "student"):
            for layer, empty in zip(self.layers, flags[owner], strict=True):
                if empty:
                    raise EmptyMapError(self.name, owner, layer)
