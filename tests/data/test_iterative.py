"""Iterative stratification, by hand and by its properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdstudy.data.iterative import iterative_split


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(5))
def test_a_case_worked_by_hand(seed: int) -> None:
    # Class 1 is rarer: its two images go one to each part, whatever the order. The part that got the image
    # with both classes then wants 1 of class 0, the other 2: of the three others with class 0, 1 and 2.
    labels = torch.tensor([[1, 1], [0, 1], [1, 0], [1, 0], [1, 0], [0, 0]]).float()
    parts = iterative_split(labels, 3, stream(seed))
    assert sorted(torch.cat(parts).tolist()) == list(range(6))
    for part in parts:
        assert len(part) == 3
        assert labels[part].sum(dim=0).tolist() == [2, 1]


def test_a_class_with_one_image_goes_to_the_larger_part() -> None:
    labels = torch.zeros(20, 2)
    labels[:, 0] = 1
    labels[7, 1] = 1
    for seed in range(5):
        assert 7 in iterative_split(labels, 4, stream(seed))[1]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99), classes=st.integers(1, 8), share=st.floats(0.1, 0.9))
def test_sizes_are_exact_and_classes_nearly_in_proportion(seed: int, classes: int, share: float) -> None:
    frequent = torch.linspace(0.03, 0.2, classes)
    labels = (torch.rand(200, classes, generator=stream(seed)) < frequent).float()
    count = round(200 * share)
    first, second = iterative_split(labels, count, stream(seed))
    assert len(first) == count
    assert sorted(first.tolist() + second.tolist()) == list(range(200))
    assert torch.equal(first, first.sort().values)
    deviation = (labels[first].sum(dim=0) - count / 200 * labels.sum(dim=0)).abs()
    assert deviation.max() <= 4


def test_it_is_much_better_than_chance_for_rare_classes() -> None:
    labels = (torch.rand(1000, 40, generator=stream(5)) < 0.01).float()
    taken = iterative_split(labels, 200, stream(1))[0]
    drawn = torch.randperm(1000, generator=stream(1))[:200]
    wanted = 0.2 * labels.sum(dim=0)
    errors = [(labels[part].sum(dim=0) - wanted).abs().mean() for part in (taken, drawn)]
    assert errors[0] < errors[1] / 2


def test_the_seed_decides() -> None:
    labels = (torch.rand(100, 5, generator=stream(5)) < 0.2).float()
    assert torch.equal(iterative_split(labels, 20, stream(0))[0], iterative_split(labels, 20, stream(0))[0])
    assert not torch.equal(iterative_split(labels, 20, stream(0))[0], iterative_split(labels, 20, stream(1))[0])
