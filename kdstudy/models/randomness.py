"""torch's, NumPy's and Python's global random generators, which users' networks may draw from: seeded, and put back.

A generator of a network's own is nobody's but the network's: see `kdstudy.models.require_trainable`.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kdstudy.seeds import derive


class GeneratorStates(NamedTuple):
    """The states of all global generators.

    Attributes:
        cpu: torch's, on the CPU.
        cuda: torch's, one of each CUDA device; empty where CUDA is not in use.
        numpy: NumPy's.
        python: Of the module `random`.
    """

    cpu: Tensor
    cuda: tuple[Tensor, ...]
    numpy: Any
    python: Any


def generator_states() -> GeneratorStates:
    """Return the states of now."""
    cuda = tuple(torch.cuda.get_rng_state_all()) if torch.cuda.is_initialized() else ()
    return GeneratorStates(torch.get_rng_state(), cuda, np.random.get_state(), random.getstate())


def set_generator_states(states: GeneratorStates) -> None:
    """Put the global generators into these states."""
    torch.set_rng_state(states.cpu)
    if states.cuda:
        torch.cuda.set_rng_state_all(states.cuda)
    np.random.set_state(states.numpy)
    random.setstate(states.python)


def seed_generators(seed: int) -> None:
    """Seed the global generators, of every device: NumPy's and Python's with streams derived from ``seed``, >= 0."""
    torch.manual_seed(seed)
    _seed_beside_torch(seed)


@contextlib.contextmanager
def preserved_generators() -> Iterator[None]:
    """Put the global generators back, at the end of the block, into the states they had."""
    states = generator_states()
    try:
        yield
    finally:
        set_generator_states(states)


@contextlib.contextmanager
def seeded_generators(seed: int) -> Iterator[None]:
    """Build on the CPU with seeded generators, and put them back: building must not shift any other random stream."""
    with preserved_generators(), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        _seed_beside_torch(seed)
        yield


def _seed_beside_torch(seed: int) -> None:
    np.random.seed(derive(seed, "numpy") % 2**32)
    random.seed(derive(seed, "random"))
