"""Stratified parts and fingerprints."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from kdstudy.data.split import combine, digest, stratified
from kdstudy.errors import DataError


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_class_gives_its_share_and_the_largest_remainders_one_more() -> None:
    labels = torch.tensor([0] * 10 + [1] * 7 + [2] * 3)  # 6 of 20: shares 3.0, 2.1, 0.9
    taken, rest = stratified(labels, 6, stream(), "part")
    assert Counter(labels[taken].tolist()) == {0: 3, 1: 2, 2: 1}
    assert sorted(taken.tolist() + rest.tolist()) == list(range(20))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(12, 60), min_size=2, max_size=6), share=st.floats(0.15, 0.85), seed=st.integers(0, 99)
)
def test_parts_are_exact_disjoint_and_proportional(sizes: list[int], share: float, seed: int) -> None:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    labels = labels[torch.randperm(len(labels), generator=stream(seed))]
    count = round(share * len(labels))
    taken, rest = stratified(labels, count, stream(seed), "part")
    assert len(taken) == count
    assert sorted(taken.tolist() + rest.tolist()) == list(range(len(labels)))
    for label, size in enumerate(sizes):
        assert abs(int((labels[taken] == label).sum()) - count * size / len(labels)) < 1


def test_the_seed_decides() -> None:
    labels = torch.arange(100) % 4
    first = stratified(labels, 20, stream(0), "part")[0]
    assert torch.equal(first, stratified(labels, 20, stream(0), "part")[0])
    assert not torch.equal(first, stratified(labels, 20, stream(1), "part")[0])


@pytest.mark.parametrize(("sizes", "count"), [((50, 2), 10), ((50, 1), 45)])
def test_a_class_that_would_vanish_from_a_part_is_an_error(sizes: tuple[int, int], count: int) -> None:
    labels = torch.tensor([0] * sizes[0] + [1] * sizes[1])
    with pytest.raises(DataError, match=rf"data.val_fraction: class 1 has {sizes[1]} image") as caught:
        stratified(labels, count, stream(), "data.val_fraction")
    assert "\n" not in str(caught.value)


def test_a_digest_changes_with_any_byte_type_or_shape() -> None:
    tensor = torch.zeros(2, 3, dtype=torch.uint8)
    found = {digest(tensor), digest(tensor.view(3, 2)), digest(tensor.to(torch.int8)), digest(tensor, tensor)}
    for position in range(6):
        changed = tensor.clone()
        changed.view(-1)[position] = 1
        found.add(digest(changed))
    assert len(found) == 10


def test_combining_names_its_parts_and_ignores_their_order() -> None:
    assert combine({"a": "1", "b": "2"}) == combine({"b": "2", "a": "1"})
    assert combine({"a": "1", "b": "2"}) != combine({"a": "2", "b": "1"})


@st.composite
def grouped(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Labels of up to three classes in groups of one to six, many of them small, and a size of the first part."""
    sizes = draw(st.lists(st.sampled_from([1, 1, 1, 2, 3, 6]), min_size=30, max_size=60))
    groups = torch.cat([torch.full((size,), 100 - number) for number, size in enumerate(sizes)])
    labels = torch.randint(0, 3, (len(groups),), generator=stream(draw(st.integers(0, 99))))
    order = torch.randperm(len(groups), generator=stream(draw(st.integers(0, 99))))
    return labels[order], groups[order], round(draw(st.floats(0.3, 0.7)) * len(groups))


@settings(max_examples=60, deadline=None)
@given(drawn=grouped(), seed=st.integers(0, 99), several=st.booleans())
def test_groups_stay_whole_and_parts_are_near_their_sizes(
    drawn: tuple[torch.Tensor, torch.Tensor, int], seed: int, several: bool
) -> None:
    labels, groups, count = drawn
    given_labels = functional.one_hot(labels, 3).float() if several else labels
    taken, rest = stratified(given_labels, count, stream(seed), "part", groups=groups)
    assert sorted(taken.tolist() + rest.tolist()) == list(range(len(labels)))
    assert not {*groups[taken].tolist()} & {*groups[rest].tolist()}
    largest = int(torch.unique(groups, return_counts=True)[1].max())
    assert abs(len(taken) - count) < largest
    for label in range(3):
        size = int((labels == label).sum())
        assert abs(int((labels[taken] == label).sum()) - count * size / len(labels)) <= largest
    again = stratified(given_labels, count, stream(seed), "part", groups=groups)[0]
    assert torch.equal(taken, again)


def test_a_large_group_is_made_up_for_by_small_ones() -> None:
    """Of 8 images in groups of 4, 1, 1, 1, 1, half is the large one or all the others."""
    groups = torch.tensor([7, 7, 7, 7, 1, 2, 3, 4])
    found = {
        tuple(stratified(torch.ones(8, 1), 4, stream(seed), "part", groups=groups)[0].tolist()) for seed in range(9)
    }
    assert found == {(0, 1, 2, 3), (4, 5, 6, 7)}


def test_groups_of_one_give_the_split_of_several_labels() -> None:
    labels = (torch.rand(80, 4, generator=stream(3)) < 0.3).float()
    plain = stratified(labels, 20, stream(5), "part")
    grouped = stratified(labels, 20, stream(5), "part", groups=torch.arange(80) * 3)
    assert all(torch.equal(a, b) for a, b in zip(plain, grouped, strict=True))


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        ([0, 1, 0, 1], [5, 5, 5, 5], r"part: the 4 images are in 1 group\(s\) that stay together"),
        ([[1.0], [1.0], [1.0], [1.0]], [5, 5, 5, 5], r"part: the 4 images are in 1 group\(s\)"),
        ([0, 0, 0, 1, 1], [1, 2, 3, 4, 4], r"part: class 'bee' has 2 image\(s\) in 1 group\(s\), of which [02] would"),
    ],
)
def test_groups_that_cannot_be_divided_are_an_error(labels: list[Any], groups: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        stratified(torch.tensor(labels), 2, stream(), "part", ("ant", "bee"), torch.tensor(groups))
    assert "\n" not in str(caught.value)
