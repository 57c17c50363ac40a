"""Validation splits and subsets: seeded, stratified, whole groups, and fingerprinted.

Shapes: N images, G groups of them, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from kdstudy.data.dataset import Split
from kdstudy.data.hashes import add_tensor
from kdstudy.data.iterative import iterative_split
from kdstudy.data.stored import StoredImages
from kdstudy.errors import DataError
from kdstudy.results import HELD_OUT
from kdstudy.seeds import derive


def hold_out(split: Split, fraction: float, why: str, classes: Sequence[str]) -> tuple[Split, Split, str]:
    """Divide the training images of a data set that has no test split: into those and one, the same for every seed.

    A study's seed has no part in it, so that no search, and no other study of these files, learns from test images.

    Args:
        split: All images.
        fraction: Share held out, in (0, 1).
        why: Why there is no test split.
        classes: Names of the classes.

    Returns:
        What is left for training, the test split, and a line about it.

    Raises:
        DataError: A class has too few images.
    """
    count = round(fraction * len(split))
    if not 0 < count < len(split):
        raise DataError(
            f"data.options.test_fraction: {fraction} of {len(split)} images is {count}; choose another share"
        )
    generator = torch.Generator().manual_seed(derive(0, "held-out test split"))
    test, train = stratified(split.labels, count, generator, "data.options.test_fraction", classes, split.groups)
    said = (
        f"{why}: {len(test)} of the {len(split)} training images ({len(test) / len(split):.0%}, each class in "
        f"proportion) {HELD_OUT}, the same for every seed"
    )
    return split.take(train), split.take(test), said


def stratified(
    labels: Tensor,
    count: int,
    generator: torch.Generator,
    what: str,
    names: Sequence[str] = (),
    groups: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Divide 0 .. N-1 at random into ``count`` indices and the rest, each class in proportion.

    Args:
        labels: (N,) int64 class of each image: exactly in proportion, see `stratified_classes`. Or (N, K)
            float32 in {0, 1}: nearly so, see `kdstudy.data.iterative.iterative_split`; a class may then have
            no image in one of the parts.
        count: Size of the first part, in (0, N); with groups, missed by less than the size of the largest.
        generator: Of the draw; on the CPU.
        what: The part's name in an error.
        names: Of the classes, for an error; empty where they have none.
        groups: (N,) int64, see `kdstudy.data.dataset.Split`: each is in one of the parts, all of it.

    Returns:
        The two parts, each in ascending order.

    Raises:
        DataError: Of single labels, a class would have no image in one of the parts; or a part would have none.
    """
    if groups is not None:
        return _stratified_groups(labels, groups, count, generator, what, names)
    if labels.ndim == 1:
        return stratified_classes(labels, count, generator, what, names)
    return iterative_split(labels, count, generator)


def stratified_classes(
    labels_N: Tensor, count: int, generator: torch.Generator, what: str, names: Sequence[str] = ()
) -> tuple[Tensor, Tensor]:
    """Divide 0 .. N-1 at random into ``count`` indices and the rest, each class in proportion.

    Each class gives its share rounded down, and the classes with the largest remainders one more (of equal
    ones, the smaller label first), so the total is exact and no class is off by one or more.

    Args:
        labels_N: Class of each image, int64.
        count: Size of the first part, in (0, N).
        generator: Of the draw; on the CPU.
        what: The part's name in an error.
        names: Of the classes, for an error; empty where they have none.

    Returns:
        The two parts, each in ascending order.

    Raises:
        DataError: A class would have no image in one of the parts.
    """
    total = len(labels_N)
    classes, sizes_N = torch.unique(labels_N, return_counts=True)
    sizes: list[int] = sizes_N.tolist()
    quotas = [count * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda k: (-(count * sizes[k] % total), k))
    for place in by_remainder[: count - sum(quotas)]:
        quotas[place] += 1
    for label, size, quota in zip(classes.tolist(), sizes, quotas, strict=True):
        if not 0 < quota < size:
            raise _one_sided(what, label, names, f"{size} image(s), of which {quota} would be taken")
    taken = torch.zeros(total, dtype=torch.bool)
    for label, quota in zip(classes.tolist(), quotas, strict=True):
        members = (labels_N == label).nonzero().flatten()
        taken[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return taken.nonzero().flatten(), (~taken).nonzero().flatten()


def _stratified_groups(
    labels: Tensor, groups_N: Tensor, count: int, generator: torch.Generator, what: str, names: Sequence[str]
) -> tuple[Tensor, Tensor]:
    _, group_N, sizes_G = torch.unique(groups_N, return_inverse=True, return_counts=True)
    single = labels.ndim == 1
    has_NK = functional.one_hot(labels) if single else labels.long()
    counts_GK = torch.zeros(len(sizes_G), has_NK.shape[1], dtype=torch.int64).index_add_(0, group_N, has_NK)
    taken_N = torch.isin(group_N, iterative_split(counts_GK, count, generator, sizes_G)[0])
    if not 0 < int(taken_N.sum()) < len(taken_N):
        raise DataError(
            f"{what}: the {len(taken_N)} images are in {len(sizes_G)} group(s) that stay together, so all would be "
            "on one side; take more of them or another share"
        )
    for label, size in enumerate(has_NK.sum(dim=0).tolist() if single else ()):
        quota = int(has_NK[taken_N, label].sum())
        if size and not 0 < quota < size:
            held = len(torch.unique(group_N[labels == label]))
            raise _one_sided(what, label, names, f"{size} image(s) in {held} group(s), of which {quota} would be taken")
    return taken_N.nonzero().flatten(), (~taken_N).nonzero().flatten()


def _one_sided(what: str, label: int, names: Sequence[str], found: str) -> DataError:
    name = f"'{names[label]}'" if label < len(names) else label
    return DataError(
        f"{what}: class {name} has {found}; every class needs one on both sides, so take more images or another share"
    )


def digest(*tensors: Tensor | StoredImages) -> str:
    """Return the SHA-256, in hex, of the type, shape and bytes of each tensor; files give their own."""
    found = hashlib.sha256()
    for tensor in tensors:
        if isinstance(tensor, StoredImages):
            tensor.add_to(found)
            continue
        add_tensor(found, f"{tensor.dtype}{tuple(tensor.shape)}", tensor)
    return found.hexdigest()


def combine(parts: Mapping[str, str]) -> str:
    """Return one SHA-256, in hex, of named ones."""
    return hashlib.sha256("\n".join(f"{name} {parts[name]}" for name in sorted(parts)).encode()).hexdigest()
