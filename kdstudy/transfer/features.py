"""The base class of methods that compare features, and what they share: sizes, pooling, unit vectors, warm-up.

Shapes: B samples, C channels, H and W positions, D entries of a vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from kdstudy.data import Batch
from kdstudy.models import FeatureExtractor
from kdstudy.transfer.base import (
    Observation,
    Temperature,
    TransferContext,
    WeighedTransfer,
    Weight,
)
from kdstudy.transfer.maps import resize

At = Literal["all", "last", "middle"]
"""The crucial layers a method compares: every one, the deepest, or the one at half depth (L // 2, from 0)."""

WarmupEpochs = Annotated[float, Ge(0)]

# Squared lengths up to this are zero: such a vector has no direction, and takes no gradient.
_ZERO = 1e-24


class FeatureTransfer(WeighedTransfer, ABC):
    """A method whose `Observation.maps` are the features of some of the crucial layers, as they come.

    Features are no maps over positions: under a layer-wise policy the controller is fed by attention maps,
    unless the study asks for others. Adaptors are submodules; they train with multiplier 1, are saved in
    checkpoints and never exported.

    The terms are ``name/layer`` for each layer compared, and ``kd`` when ``kd_weight`` is not 0.

    Args:
        context: Networks and shapes.
        weight: Factor on the sum over layers; 0 measures without teaching.
        at: Which crucial layers.
        kd_weight: Factor on soft targets; 0 leaves them out.
        temperature: Of the soft targets, > 0.

    Raises:
        MapError: There is no crucial layer.
    """

    splits_batches: ClassVar[bool] = True

    def __init__(
        self,
        context: TransferContext,
        *,
        weight: Weight,
        at: At,
        kd_weight: Weight = 0.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__(context, weight=weight, kd_weight=kd_weight, temperature=temperature)
        self.require_layers()
        count = len(self.layers)
        self.chosen = {"all": tuple(range(count)), "last": (count - 1,), "middle": (count // 2,)}[at]
        self.student_shapes = [context.student_shapes[index] for index in self.chosen]
        self.teacher_shapes = [context.teacher_shapes[index] for index in self.chosen]

    def observe(self, network: FeatureExtractor, images: Tensor, draws: Any) -> Observation:
        """Run ``network`` once and keep the features of the chosen layers, each (B, C, H, W)."""
        output = network(images)
        return Observation(output.logits, tuple(output.features[index] for index in self.chosen))

    @property
    def term_layers(self) -> tuple[str, ...]:
        """Those that are compared."""
        return tuple(self.layers[index] for index in self.chosen)

    @abstractmethod
    def losses(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], batch: Batch
    ) -> Sequence[Tensor] | Mapping[str, Tensor]:
        """Return the unweighted scalars: one per chosen layer in order, or by name of the part.

        Args:
            student: What `observe` kept of the student.
            teacher: The same of the teacher, detached.
            batch: The images and their labels and indices.
        """

    def terms(self, student: Observation, teacher: Observation, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted losses, and the soft targets' term if asked for."""
        losses = self.losses(student.maps, [feature.detach() for feature in teacher.maps], batch)
        if not isinstance(losses, Mapping):
            losses = dict(zip((self.layers[index] for index in self.chosen), losses, strict=True))
        return self.weighed(losses, student, teacher, batch)


class Warmup(nn.Module):
    """A factor that rises from 0 to 1 in proportion to the training images seen; its state is one number.

    Args:
        epochs: Passes over the training images until it is 1; 0: at once.
        num_train: Number of training images.
    """

    seen: Tensor

    def __init__(self, epochs: float, num_train: int) -> None:
        super().__init__()
        self._images = epochs * num_train
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, samples: int) -> Tensor | float:
        """Count a batch of ``samples`` images, in train mode, and return the factor on its loss."""
        if self._images == 0:
            return 1.0
        if self.training:
            self.seen += samples
        return (self.seen / self._images).clamp(max=1.0)


def common_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return two features (B, C, H, W), each average-pooled to the smaller height and the smaller width."""
    height, width = (min(pair) for pair in zip(student.shape[-2:], teacher.shape[-2:], strict=True))
    return resize(student, (height, width)), resize(teacher, (height, width))


def pooled(feature_BCHW: Tensor) -> Tensor:
    """Return the mean over positions, (B, C): the embedding, where the layer is the network's last stage."""
    return feature_BCHW.mean(dim=(2, 3))


def unit(vectors: Tensor) -> Tensor:
    """Return vectors (..., D) divided by their L2 norm; a zero vector stays zero and takes no gradient."""
    square = vectors.square().sum(dim=-1, keepdim=True)
    some = square > _ZERO
    return torch.where(some, vectors / torch.where(some, square, 1.0).sqrt(), 0.0)
