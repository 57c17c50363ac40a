"""Fixed tensors for comparing methods with other implementations, and contexts without networks."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kdstudy.transfer.base import Batch, Observation, TransferContext

# The numbers that tests compare with are torchdistill 1.1.5's on these tensors, in float64.
TORCHDISTILL = {"rel": 1e-6}


def wave(*shape: int, phase: float = 0.0) -> Tensor:
    """Return sin(0.7 n + phase) for the n-th entry."""
    return torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 0.7 + phase).reshape(shape)


STUDENT = wave(5, 3, 2, 2, phase=0.3) + 0.4
TEACHER = wave(5, 4, 2, 2, phase=1.1) * 1.5


def fill(tensors: Iterable[Tensor]) -> None:
    """Give the i-th tensor the wave of phase i."""
    with torch.no_grad():
        for index, tensor in enumerate(tensors):
            tensor.copy_(wave(*tensor.shape, phase=float(index)))


def context(
    student: tuple[int, int, int], teacher: tuple[int, int, int], *, layers: int = 1, num_train: int = 8
) -> TransferContext:
    """Return a context of ``layers`` layers of the same shapes."""
    names = tuple(f"layer{index}" for index in range(1, layers + 1))
    return TransferContext(
        names,
        (student,) * layers,
        (teacher,) * layers,
        (3, 8, 8),
        5,
        num_train,
        nn.Identity(),
        nn.Identity(),
        names,
    )


def batch_of(samples: int, labels: Tensor | None = None, indices: Tensor | None = None) -> Batch:
    """Return a batch whose images do not matter."""
    return Batch(
        torch.zeros(samples, 3, 8, 8),
        torch.zeros(samples, dtype=torch.int64) if labels is None else labels,
        torch.arange(samples) if indices is None else indices,
    )


def seen(*maps: Tensor, logits: Tensor | None = None) -> Observation:
    """Return what a method keeps of a pass with these features."""
    return Observation(torch.zeros(len(maps[0]), 5) if logits is None else logits, maps)
