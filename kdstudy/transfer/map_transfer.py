"""The base class of methods that compare maps over positions, which can also feed the layer-wise controller."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from kdstudy.data import Batch
from kdstudy.errors import MapError
from kdstudy.transfer.base import Observation, Temperature, TransferContext, WeighedTransfer, Weight


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
