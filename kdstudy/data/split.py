"""Validation splits and subsets: seeded, stratified, and fingerprinted.

Shapes: N images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from kdstudy.data.files import ImageFiles
from kdstudy.data.hashes import add_tensor
from kdstudy.data.iterative import iterative_split
from kdstudy.errors import DataError


def stratified(labels: Tensor, count: int, generator: torch.Generator, what: str) -> tuple[Tensor, Tensor]:
    """Divide 0 .. N-1 at random into ``count`` indices and the rest, each class in proportion.

    Args:
        labels: (N,) int64 class of each image: exactly in proportion, see `stratified_classes`. Or (N, K)
            float32 in {0, 1}: nearly so, see `kdstudy.data.iterative.iterative_split`; a class may then have
            no image in one of the parts.
        count: Size of the first part, in (0, N).
        generator: Of the draw; on the CPU.
        what: The part's name in an error.

    Returns:
        The two parts, each in ascending order.

    Raises:
        DataError: Of single labels, a class would have no image in one of the parts.
    """
    if labels.ndim == 1:
        return stratified_classes(labels, count, generator, what)
    return iterative_split(labels, count, generator)


def stratified_classes(labels_N: Tensor, count: int, generator: torch.Generator, what: str) -> tuple[Tensor, Tensor]:
    """Divide 0 .. N-1 at random into ``count`` indices and the rest, each class in proportion.

    Each class gives its share rounded down, and the classes with the largest remainders one more (of equal
    ones, the smaller label first), so the total is exact and no class is off by one or more.

    Args:
        labels_N: Class of each image, int64.
        count: Size of the first part, in (0, N).
        generator: Of the draw; on the CPU.
        what: The part's name in an error.

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
            raise DataError(
                f"{what}: class {label} has {size} image(s), of which {quota} would be taken; "
                "every class needs one on both sides, so take more images or another share"
            )
    taken = torch.zeros(total, dtype=torch.bool)
    for label, quota in zip(classes.tolist(), quotas, strict=True):
        members = (labels_N == label).nonzero().flatten()
        taken[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return taken.nonzero().flatten(), (~taken).nonzero().flatten()


def digest(*tensors: Tensor | ImageFiles) -> str:
    """Return the SHA-256, in hex, of the type, shape and bytes of each tensor; files give their own."""
    found = hashlib.sha256()
    for tensor in tensors:
        if isinstance(tensor, ImageFiles):
            found.update(tensor.digest().encode())
            continue
        add_tensor(found, f"{tensor.dtype}{tuple(tensor.shape)}", tensor)
    return found.hexdigest()


def combine(parts: Mapping[str, str]) -> str:
    """Return one SHA-256, in hex, of named ones."""
    return hashlib.sha256("\n".join(f"{name} {parts[name]}" for name in sorted(parts)).encode()).hexdigest()
