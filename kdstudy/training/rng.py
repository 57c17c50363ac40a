"""Random streams of a trial: stateless, so a checkpoint needs no generator state.

A stream belongs to (seed, name, epoch). Training resumes at epoch boundaries, where every stream starts afresh.
"""

from __future__ import annotations

import torch

from kdstudy.models import seed_generators
from kdstudy.seeds import derive


def generator(seed: int, stream: str, epoch: int = 0) -> torch.Generator:
    """Return a CPU generator for one stream of one epoch.

    Args:
        seed: The trial's data or initialisation seed.
        stream: ``order``, ``augment``, ``directions``, ``probe``, ...
        epoch: From 1; 0 for streams that do not change over a trial.
    """
    return torch.Generator().manual_seed(derive(seed, stream, epoch))


def seed_global_rng(seed: int, epoch: int) -> None:
    """Seed the global generators at the start of an epoch, for modules that draw from them (dropout)."""
    seed_generators(derive(seed, "ambient", epoch))
