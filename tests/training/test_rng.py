"""Random streams are named, stateless and disjoint."""

from __future__ import annotations

import random

import numpy as np
import torch

from kdstudy.seeds import confirm_seed, data_seed, derive, init_seed, teacher_seed
from kdstudy.training.rng import generator, seed_global_rng


def test_a_stream_depends_on_seed_name_and_epoch_alone() -> None:
    def draw(*args) -> list[float]:
        return torch.rand(3, generator=generator(*args)).tolist()

    assert draw(1, "order", 2) == draw(1, "order", 2)
    assert (
        len({tuple(draw(*args)) for args in ((1, "order", 2), (2, "order", 2), (1, "augment", 2), (1, "order", 3))})
        == 4
    )


def test_seeds_are_exact_in_json_and_disjoint_between_phases() -> None:
    seeds = [
        data_seed(0),
        teacher_seed(0),
        *(init_seed(0, n) for n in range(200)),
        *(confirm_seed(0, k) for k in range(200)),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**53 and int(float(seed)) == seed for seed in seeds)
    assert derive(0, "a", "b") != derive(0, "a/b", "c")


def test_an_epoch_seeds_every_global_generator() -> None:
    """As a user's network may draw from any of them in its forward pass."""

    def drawn(seed: int, epoch: int) -> tuple[float, float, float]:
        seed_global_rng(seed, epoch)
        return float(torch.rand(())), float(np.random.rand()), random.random()

    assert drawn(1, 1) == drawn(1, 1)
    for other in (drawn(1, 2), drawn(2, 1)):
        assert not set(other) & set(drawn(1, 1))
