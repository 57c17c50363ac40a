"""Splits of images with several classes each, or of groups of images: the rarest class is dealt out first.

Shapes: N images or groups, K classes, 2 parts.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def iterative_split(
    labels_NK: Tensor, count: int, generator: torch.Generator, sizes_N: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Divide 0 .. N-1 at random into ``count`` images and the rest, every class nearly in proportion.

    As long as images are left, the class with the fewest left (of equals, the first) has its images dealt
    out, in random order, each to the part that still wants most images of that class; of equals, to the one
    that wants most images at all; of equals, at random. Images without a class come last. Groups of images are dealt
    out whole, the large ones of a class first, so that the small ones make up for them.

    Source: Sechidis, Tsoumakas, Vlahavas, *On the Stratification of Multi-Label Data*, ECML PKDD 2011,
        algorithm 1, for two parts. Ours: a part that has its number of images gets no more, so sizes are
        exact (with groups, off by less than the largest); what a part wants is counted in whole N-ths, so the split is
        the same on every machine.

    Args:
        labels_NK: Whether an image has a class, 0 or 1; of a group, how many of its images do.
        count: Images of the first part, in (0, N), or (0, their number).
        generator: Of the draw; on the CPU.
        sizes_N: How many images each group has, >= 1; None where each is one.

    Returns:
        The two parts, each in ascending order.
    """
    number = len(labels_NK)
    counts_NK = labels_NK.numpy().astype(np.int64)
    size_N = np.ones(number, np.int64) if sizes_N is None else sizes_N.numpy()
    total = int(size_N.sum())
    order_N = torch.randperm(number, generator=generator).numpy()
    order_N = order_N[np.argsort(-size_N[order_N], kind="stable")]
    coins_N = torch.randint(0, 2, (number,), generator=generator).numpy()
    room = np.array([count, total - count])
    wanted_2K = room[:, None] * counts_NK.sum(axis=0)[None, :]  # N times the number of images
    part_N = np.full(number, -1)

    def deal(image: int, wanted_2: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        first, second = ((room[part] >= size_N[image], wanted_2[part], room[part]) for part in (0, 1))
        part = int(coins_N[image]) if first == second else int(first < second)
        part_N[image] = part
        room[part] -= size_N[image]
        wanted_2K[part] -= total * counts_NK[image]

    while True:
        left_K = counts_NK[part_N < 0].sum(axis=0)
        if not left_K.any():
            break
        rarest = int(np.where(left_K > 0, left_K, total + 1).argmin())
        for image in order_N[(counts_NK[order_N, rarest] > 0) & (part_N[order_N] < 0)]:
            deal(image, wanted_2K[:, rarest])
    for image in order_N[part_N[order_N] < 0]:
        deal(image, room.copy())
    parts = torch.from_numpy(part_N)
    return (parts == 0).nonzero().flatten(), (parts == 1).nonzero().flatten()
