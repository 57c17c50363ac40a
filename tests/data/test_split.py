"""Stratified parts and fingerprints."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
