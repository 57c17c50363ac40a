"""Maps of one layer: pure functions of its activation and of the activation's derivatives.

Q = mean over channels of |A|^p. Shapes: B samples, C channels, H and W positions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def attention_map(activation_BCHW: Tensor, p: float = 2.0) -> Tensor:
    """Return Q, of shape (B, H, W).

    Args:
        activation_BCHW: The layer's output A.
        p: Power >= 1: 1 weighs all channels alike, large values follow the strongest one.

    Source: Zagoruyko & Komodakis 2017, arXiv 1612.03928, section 3.1; the mean in place of their sum over
        channels, so that maps of different widths have one scale. |A| also for odd p, as they write; some
        implementations raise A itself to the power.
    """
    return _power(activation_BCHW, p).mean(dim=1)


def directional_map(activation_BCHW: Tensor, tangent_BCHW: Tensor, p: float = 2.0) -> Tensor:
    """Return DQ[u] = p mean_c |a|^(p-1) sign(a) a' of shape (B, H, W), where a' = DA[u]."""
    if p == 2:
        return 2 * (activation_BCHW * tangent_BCHW).mean(dim=1)
    return p * (_power(activation_BCHW, p - 1) * activation_BCHW.sign() * tangent_BCHW).mean(dim=1)


def curvature_map(first_BCHW: Tensor, second_BCHW: Tensor) -> Tensor:
    """Return D^2 Q[u, v] = 2 mean_c a'_u a'_v of shape (B, H, W) for p = 2, where a'_u = DA[u], a'_v = DA[v].

    Exact almost everywhere for networks that are piecewise linear in the image, since there D^2 A = 0.
    """
    return 2 * (first_BCHW * second_BCHW).mean(dim=1)


def resize(map_BHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the map average-pooled to ``size`` (h, w), at most its own; itself when it fits already."""
    height, width = map_BHW.shape[-2:]
    if (height, width) == size:
        return map_BHW
    if height % size[0] == 0 and width % size[1] == 0:
        return functional.avg_pool2d(map_BHW, (height // size[0], width // size[1]))
    return _bins(height, size[0], map_BHW) @ map_BHW @ _bins(width, size[1], map_BHW).T


def _bins(entries: int, bins: int, like: Tensor) -> Tensor:
    """Return the matrix (bins, entries) of adaptive average pooling, which CUDA cannot repeat bit for bit."""
    row = torch.arange(bins, device=like.device).unsqueeze(1)
    first, end = row * entries // bins, ((row + 1) * entries + bins - 1) // bins
    column = torch.arange(entries, device=like.device)
    return ((column >= first) & (column < end)).to(like.dtype) / (end - first)


def _power(values: Tensor, p: float) -> Tensor:
    """Return |values|^p with every derivative 0, not infinite, where the value is 0."""
    if p == 2:
        return values * values
    if p == 1:
        return values.abs()
    zero = values == 0
    powered = torch.where(zero, 1.0, values.abs()).pow(p)
    return torch.where(zero, 0.0 if p > 0 else 1.0, powered)
