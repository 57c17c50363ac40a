"""The teacher's outputs, step by step: the protocol, and the teacher run in each step."""

from __future__ import annotations

from typing import Any, Protocol, final

import torch
from torch import Tensor

from kdstudy.data import Batch
from kdstudy.models import FeatureExtractor
from kdstudy.transfer import Observation


class TeacherOutputs(Protocol):
    """The teacher's observations, step by step."""

    def begin_epoch(self, epoch: int) -> None:
        """Prepare the steps of an epoch, from 1."""

    def observation(self, step: int, batch: Batch, draws: Any) -> Observation:
        """Return the teacher's observation of a batch, the ``step``-th of its epoch, from 0; without gradients."""


class Observer(Protocol):
    """What observes a network: a `Transfer`, or the ranks that share its batches."""

    def observe(self, network: FeatureExtractor, images: Tensor, draws: Any) -> Observation:
        """Run ``network`` and keep what the loss needs."""


@final
class LiveTeacherOutputs:
    """Runs the teacher in each step.

    Args:
        teacher: Frozen, in eval mode.
        observer: Observes it.
        dtype: To which the observation is rounded, as if it had been kept; None leaves it as it is.
    """

    def __init__(self, teacher: FeatureExtractor, observer: Observer, dtype: torch.dtype | None = None) -> None:
        self._teacher, self._observer, self._dtype = teacher, observer, dtype

    def begin_epoch(self, epoch: int) -> None:
        """Nothing."""

    @torch.no_grad()
    def observation(self, step: int, batch: Batch, draws: Any) -> Observation:
        """Run the teacher on the batch's images."""
        found = self._observer.observe(self._teacher, batch.images, draws)
        if self._dtype is None:
            return found
        return Observation(*_rounded(found, self._dtype))


def _rounded(found: Observation, dtype: torch.dtype) -> tuple[Any, tuple[Any, ...]]:
    maps = tuple(each.to(dtype).to(each.dtype) for each in found.maps)
    return found.logits.to(dtype).to(found.logits.dtype), maps
