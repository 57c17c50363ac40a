"""Splits of images with several classes each: the rarest class is dealt out first.

Shapes: N images, K classes, 2 parts.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def iterative_split(labels_NK: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Divide 0 .. N-1 at random into ``count`` indices and the rest, every class nearly in proportion.

    As long as images are left, the class with the fewest left (of equals, the first) has its images dealt
    out, in random order, each to the part that still wants most images of that class; of equals, to the one
    that wants most images at all; of equals, at random. Images without a class come last.

    Source: Sechidis, Tsoumakas, Vlahavas, *On the Stratification of Multi-Label Data*, ECML PKDD 2011,
        algorithm 1, for two parts. Ours: a part that has its number of images gets no more, so sizes are
        exact; what a part wants is counted in whole N-ths, so the split is the same on every machine.

    Args:
        labels_NK: Nonzero where an image has a class.
        count: Size of the first part, in (0, N).
        generator: Of the draw; on the CPU.

    Returns:
        The two parts, each in ascending order.
    """
    total = len(labels_NK)
    has_NK = labels_NK.numpy() > 0
    order_N = torch.randperm(total, generator=generator).numpy()
    coins_N = torch.randint(0, 2, (total,), generator=generator).numpy()
    room = np.array([count, total - count])
    wanted_2K = room[:, None] * has_NK.sum(axis=0)[None, :]  # N times the number of images
    part_N = np.full(total, -1)

    def deal(image: int, wanted_2: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        first, second = ((room[part] > 0, wanted_2[part], room[part]) for part in (0, 1))
        part = int(coins_N[image]) if first == second else int(first < second)
        part_N[image] = part
        room[part] -= 1
        wanted_2K[part, has_NK[image]] -= total

    while True:
        left_K = has_NK[part_N < 0].sum(axis=0)
        if not left_K.any():
            break
        rarest = int(np.where(left_K > 0, left_K, total + 1).argmin())
        for image in order_N[has_NK[order_N, rarest] & (part_N[order_N] < 0)]:
            deal(image, wanted_2K[:, rarest])
    for image in order_N[part_N[order_N] < 0]:
        deal(image, room.copy())
    parts = torch.from_numpy(part_N)
    return (parts == 0).nonzero().flatten(), (parts == 1).nonzero().flatten()
