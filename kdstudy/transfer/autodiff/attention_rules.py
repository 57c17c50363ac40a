"""Tangent rules of what transformers compute: softmax, layer norm, attention, rolled windows.

Each is curved: its second derivative is not zero, and second-order forms refuse the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kdstudy.transfer.autodiff.dispatch import Streams, unknown

Rule = Callable[..., Any]


def softmax(func: Rule, x: Any, dim: int = -1, **kwargs: Any) -> Any:
    """The shares p of a softmax: p' = p (x' - sum(p x'))."""
    value = func(x.value, dim=dim, **{key: option for key, option in kwargs.items() if key == "dtype"})
    shares = x.first(value)
    tangents = (shares * (t - (shares * t).sum(dim, keepdim=True)) for t in x.companions)
    return x.like(value, tuple(tangents), "softmax")


def layer_norm(
    func: Rule, x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Any:
    """With y = (x - mean) / s, both of one row: y' = (x' - mean x' - y mean(y x')) / s, times the weight."""
    if isinstance(weight, Streams) or isinstance(bias, Streams):
        unknown("layer_norm, with weights made from the image")
    dims = tuple(range(-len(normalized_shape), 0))
    variance, mean = torch.var_mean(x.value, dims, correction=0, keepdim=True)
    scale = x.first((variance + eps).rsqrt())
    normal = x.first(x.value - mean) * scale
    value = func(x.value, normalized_shape, weight, bias, eps)

    def along(t: Tensor) -> Any:
        pushed = (t - t.mean(dims, keepdim=True) - normal * (normal * t).mean(dims, keepdim=True)) * scale
        return pushed if weight is None else pushed * weight

    return x.like(value, tuple(along(t) for t in x.companions), "layer_norm")


def attention(
    _: Rule, q: Any, k: Any, v: Any, attn_mask: Any = None, dropout_p: float = 0.0, *more: Any, **options: Any
) -> Any:
    """Softmax of scaled products, by its parts: (B, heads, N, D) each; the mask may depend on the image too."""
    causal, scale = more[0] if more else options.get("is_causal", False), options.get("scale")
    if causal or options.get("enable_gqa") or not all(isinstance(each, Streams) for each in (q, k, v)):
        unknown("scaled_dot_product_attention, causal, of groups or of constants")
    weights = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-2, -1)
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill(~attn_mask, -torch.inf)
        weights = weights + attn_mask
    shares = functional.softmax(weights, dim=-1)
    return (functional.dropout(shares, dropout_p) if dropout_p else shares) @ v


RULES: dict[str, Rule] = {
    "softmax": softmax,
    "layer_norm": layer_norm,
    "scaled_dot_product_attention": attention,
}
