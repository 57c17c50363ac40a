"""Norms of each layer's weights and gradients over an epoch, gathered on the device without waiting for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm


class Norms(NamedTuple):
    """Means over steps, for one group of parameters.

    Attributes:
        weights: Euclidean norm of the parameters, >= 0, before each step.
        gradients: Of their gradients, without weight decay.
    """

    weights: float
    gradients: float


@final
class LayerNorms:
    """Adds up the norms of each group of an optimizer, step by step.

    Args:
        groups: The optimizer's: ``layer`` and ``params``.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        self._groups = {str(group["layer"]): list(group["params"]) for group in groups}
        self._sums: Tensor | None = None
        self._steps = 0

    @torch.no_grad()
    def add(self) -> None:
        """Add those of a step: after the backward pass, before the optimizer's."""
        sides = [(each, [p.grad for p in each if p.grad is not None]) for each in self._groups.values()]
        norms = torch.stack([get_total_norm(tensors).double() for pair in sides for tensors in pair])
        self._sums = norms if self._sums is None else self._sums + norms
        self._steps += 1

    def means(self) -> dict[str, Norms]:
        """Return the means by layer; empty before the first step."""
        if self._sums is None:
            return {}
        pairs = (self._sums / self._steps).view(-1, 2).tolist()
        return {layer: Norms(*pair) for layer, pair in zip(self._groups, pairs, strict=True)}
