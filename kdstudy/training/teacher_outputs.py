"""Where a step gets the teacher's observation from."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from kdstudy.models import Network
from kdstudy.transfer import Batch, Observation, Transfer


class Targets(Protocol):
    """The teacher's observations, step by step."""

    def begin(self, epoch: int) -> None:
        """Make ready for the steps of an epoch, from 1."""

    def of(self, step: int, batch: Batch, draws: Any) -> Observation:
        """Return the teacher's observation of a batch, the ``step``-th of its epoch, from 0; without gradients."""


class LiveTargets:
    """Runs the teacher in each step.

    Args:
        teacher: Frozen, in eval mode.
        transfer: The method that observes it.
        dtype: To which the observation is rounded, as if it had been kept; None leaves it as it is.
    """

    def __init__(self, teacher: Network, transfer: Transfer, dtype: torch.dtype | None = None) -> None:
        self._teacher, self._transfer, self._dtype = teacher, transfer, dtype

    def begin(self, epoch: int) -> None:
        """Nothing."""

    @torch.no_grad()
    def of(self, step: int, batch: Batch, draws: Any) -> Observation:
        """Run the teacher on the batch's images."""
        found = self._transfer.observe(self._teacher, batch.images, draws)
        if self._dtype is None:
            return found
        return Observation(*_rounded(found, self._dtype))


def _rounded(found: Observation, dtype: torch.dtype) -> tuple[Any, tuple[Any, ...]]:
    maps = tuple(each.to(dtype).to(each.dtype) for each in found.maps)
    return found.logits.to(dtype).to(found.logits.dtype), maps
