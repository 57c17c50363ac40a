"""Forward mode: JVPs of every layer in one forward pass, batch statistics held constant.

``Dual(images, (u,))`` goes through a network in place of the images; each layer then gives its activation a
and the derivative a' of the activation along u. Both are ordinary differentiable tensors, so a loss of a'
needs one ordinary backward pass: about twice the work of a plain step, where a double backward for each of
three layers takes five.

Why not `torch.autograd.forward_ad` or `torch.func.jvp`: with batch norms replaced, they give the same numbers, and a
step takes 1.2 and 1.7 times as long on the whole batch, 1.8 and 1.4 times with derivatives of a quarter of it (medians
of CPU time, resnet8; `benchmarks/forward_mode.py`), as neither carries tangents for part of a batch in one pass.

Batch norm in train mode acts on tangents with the batch statistics of the values as constants, so a sample's tangent is
its own; running statistics are updated once. Tangents may cover the first q of B samples. They are exact almost
everywhere: at the kink of a ReLU or a tie of max-pool the choice is that of torch's own derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from kdstudy.transfer.autodiff.attention_rules import RULES as ATTENTION_RULES
from kdstudy.transfer.autodiff.dispatch import (
    DROPOUTS,
    Streams,
    apply,
    dropped,
    every,
    positional,
    unknown,
)

Rule = Callable[..., Any]


class Dual(Streams):
    """A value and its derivatives along one or more directions.

    Args:
        value: (B, ...).
        tangents: Each (q, ...), the derivatives of the first q samples, 1 <= q <= B.
        curved: Name of a function on the way whose second derivative is not zero almost everywhere, or None
            while the value is piecewise linear in the input. Second-order forms look at it.
    """

    def __init__(
        self,
        value: Tensor,
        tangents: tuple[Tensor, ...],
        *,
        curved: str | None = None,
        rows: tuple[int, int] | None = None,
    ) -> None:
        if rows is None and tangents and value.ndim and len(tangents[0]) < len(value):
            rows = (len(value), len(tangents[0]))
        super().__init__(value, tangents, rows)
        self.curved = curved

    @property
    def tangents(self) -> tuple[Tensor, ...]:
        """The derivatives, in the order of the directions."""
        return self.companions

    def like(self, value: Tensor, companions: tuple[Tensor, ...], curved: str | None = None) -> Self:
        """Return the dual one function further; ``curved`` names that function if it is curved."""
        return type(self)(value, companions, curved=self.curved or curved, rows=self.rows)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Return ``func`` of the value, with its tangents.

        Raises:
            MapError: There is no rule for ``func``.
        """
        kwargs = dict(kwargs or {})
        args = positional(func, args, kwargs)
        name = func.__name__.strip("_")
        in_place = kwargs.pop("inplace", False)
        if func.__name__.endswith("_") and not func.__name__.startswith("_"):
            in_place, func = True, getattr(functional, name, None) or getattr(torch, name)
        rule = _RULES.get(name)
        if rule is None or func is torch.batch_norm:
            unknown(func.__name__)
        result = rule(func, *args, **kwargs)
        if not in_place:
            return result
        return args[0].become(result) if isinstance(args[0], Dual) else unknown(func.__name__)


def _linear(func: Rule, *args: Any, **kwargs: Any) -> Any:
    """Linear in all its duals: the same function of the tangents."""
    result = apply(func, args, kwargs)
    curved = next((dual.curved for dual in every(args) if dual.curved), None)
    for dual in every([result]):
        dual.curved = curved  # type: ignore[attr-defined]
    return result


def _joined(func: Rule, tensors: Any, *args: Any, **kwargs: Any) -> Any:
    """Cat and stack: a part that is no dual has tangents zero."""
    source = next(every(tensors))
    zeros = [() if isinstance(t, Dual) else (torch.zeros_like(source.first(t)),) for t in tensors]
    parts = [
        t if isinstance(t, Dual) else source.like(t, z * len(source.companions))
        for t, z in zip(tensors, zeros, strict=True)
    ]
    return _linear(func, parts, *args, **kwargs)


def _affine(func: Rule, x: Dual, weight: Any, bias: Any = None, *args: Any, **kwargs: Any) -> Dual:
    """Convolution and linear layer: the tangent has no bias."""
    if isinstance(weight, Dual) or not isinstance(x, Dual):
        unknown(f"{func.__name__}, with weights made from the image")
    value = func(x.value, weight, bias, *args, **kwargs)
    return x.like(value, tuple(func(t, weight, None, *args, **kwargs) for t in x.tangents))


def _pad(_: Rule, x: Dual, pad: Any, mode: str = "constant", value: float | None = None) -> Dual:
    return x.like(functional.pad(x.value, pad, mode, value), tuple(functional.pad(t, pad, mode) for t in x.tangents))


def _sum(func: Rule, a: Any, b: Any, *, alpha: float = 1) -> Dual:
    """Addition and subtraction, with a dual on either side or both."""
    source = a if isinstance(a, Dual) else b
    value = func(_value(a), _value(b), alpha=alpha)
    sign = -alpha if func.__name__ in ("sub", "subtract") else alpha
    tangents = []
    for k in range(len(source.tangents)):
        parts = [
            factor * item.tangents[k] if factor != 1 else item.tangents[k]
            for item, factor in ((a, 1), (b, sign))
            if isinstance(item, Dual)
        ]
        total = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        tangents.append(total.expand_as(source.first(value)))
    return source.like(value, tuple(tangents), _curved(a, b))


def _product(func: Rule, a: Any, b: Any) -> Dual:
    """Product rule, for any bilinear function; curved when both factors depend on the image."""
    source = a if isinstance(a, Dual) else b
    left, right = source.first(a.value) if isinstance(a, Dual) else a, b
    if isinstance(b, Dual):
        right = source.first(b.value)
    if func.__name__ != "matmul":
        left, right = source.constant(left), source.constant(right)
    tangents = []
    for k in range(len(source.tangents)):
        parts = [func(a.tangents[k], right)] if isinstance(a, Dual) else []
        parts += [func(left, b.tangents[k])] if isinstance(b, Dual) else []
        tangents.append(parts[0] if len(parts) == 1 else parts[0] + parts[1])
    both = func.__name__ if isinstance(a, Dual) and isinstance(b, Dual) else None
    return source.like(func(_value(a), _value(b)), tuple(tangents), _curved(a, b) or both)


def _quotient(func: Rule, a: Any, b: Any) -> Any:
    """Division by a constant is linear; by a dual it is a product with the reciprocal."""
    if isinstance(b, Dual):
        return _product(torch.mul, _smooth(torch.reciprocal, b), a)
    return a.like(func(a.value, b), tuple(func(t, a.constant(b)) for t in a.tangents))


def _sloped(slope: Callable[..., Tensor]) -> Rule:
    """Piecewise linear and elementwise: the tangent times the slope, which is locally constant."""

    def rule(func: Rule, x: Dual, *args: Any, **kwargs: Any) -> Dual:
        factor = slope(x.first(x.value), *args, **kwargs)
        return x.like(func(x.value, *args, **kwargs), tuple(t * factor for t in x.tangents))

    return rule


def _within(v: Tensor, low: Any = None, high: Any = None, **bounds: Any) -> Tensor:
    low, high = bounds.get("min", low), bounds.get("max", high)
    inside = torch.ones_like(v, dtype=torch.bool)
    inside = inside if low is None else inside & (v >= low)
    return inside if high is None else inside & (v <= high)


def _prelu_slope(v: Tensor, weight: Tensor) -> Tensor:
    return torch.where(v > 0, 1.0, weight.reshape(-1, *[1] * (v.ndim - 2)))


def _smooth(func: Rule, x: Dual, *args: Any, **kwargs: Any) -> Dual:
    """Elementwise and curved: the tangent times the first derivative, itself differentiable."""
    if not isinstance(x, Dual) or next(every(args), None) is not None:
        unknown(f"{func.__name__}, of two tensors made from the image")
    with torch.enable_grad():
        point = x.value if x.value.requires_grad else x.value.detach().requires_grad_()
        value = func(point, *args, **kwargs)
        (slope,) = torch.autograd.grad(value.sum(), point, create_graph=True)
    if not torch.is_grad_enabled() or not x.value.requires_grad:
        value, slope = value.detach(), slope.detach()
    return x.like(value, tuple(t * x.first(slope) for t in x.tangents), func.__name__)


def _max_pool(func: Rule, x: Dual, *args: Any, **kwargs: Any) -> Any:
    """Pick the tangents where the maxima are."""
    with_indices = kwargs.pop("return_indices", False)
    value, indices = getattr(functional, func.__name__)(x.value, *args, return_indices=True, **kwargs)
    start = 2 if "2d" in func.__name__ else 1
    picked = x.first(indices).flatten(-start)
    tangents = (t.flatten(-start).gather(-1, picked).view_as(x.first(indices)) for t in x.tangents)
    dual = x.like(value, tuple(tangents))
    return (dual, indices) if with_indices else dual


def _batch_norm(func: Rule, x: Dual, running_mean: Tensor | None, running_var: Tensor | None, **options: Any) -> Dual:
    weight, eps = options["weight"], options["eps"]
    if options["training"] or running_mean is None or running_var is None:
        # The pass keeps the inverse deviation for its own backward; to take it anew costs more than the pass.
        value, _, inverse = torch.native_batch_norm(
            x.value, weight, options["bias"], running_mean, running_var, True, options["momentum"], eps
        )
        scale = inverse.detach()
    else:
        value, scale = func(x.value, running_mean, running_var, **options), (running_var + eps).rsqrt()
    scale = (scale if weight is None else scale * weight).view(-1, *[1] * (x.ndim - 2))
    return x.like(value, tuple(t * scale for t in x.tangents))


def _synchronised(
    func: Rule, x: Dual, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Any
) -> tuple[Dual, Tensor, Tensor]:
    """Batch norm in train mode over a batch that several processes share."""
    value, mean, variance = func(x.value, weight, bias, eps, ranks)
    scale = (variance + eps).rsqrt()
    scale = (scale if weight is None else scale * weight).view(-1, *[1] * (x.ndim - 2))
    return x.like(value, tuple(t * scale for t in x.tangents)), mean, variance


def _value(item: Any) -> Any:
    return item.value if isinstance(item, Dual) else item


def _curved(*items: Any) -> str | None:
    return next((item.curved for item in items if isinstance(item, Dual) and item.curved), None)


def _about(func: Rule, x: Dual, *args: Any, **kwargs: Any) -> Any:
    return func(x.value, *args, **kwargs)


_LINEAR = """
    adaptive_avg_pool1d adaptive_avg_pool2d avg_pool1d avg_pool2d chunk clone contiguous cumsum double expand
    flatten float getitem interpolate mean movedim narrow neg negative permute pixel_shuffle pixel_unshuffle
    reshape roll select split squeeze sum swapaxes to transpose unbind unflatten unfold unsqueeze view
"""
_SMOOTH = """
    celu elu exp gelu hardsigmoid hardswish log log1p logsigmoid mish pow reciprocal rsqrt selu sigmoid silu
    softplus softsign sqrt square tanh
"""
_MAX_POOLS = ("max_pool1d", "max_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d")
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_LINEAR.split(), _linear),
    **dict.fromkeys(_SMOOTH.split(), _smooth),
    **dict.fromkeys(("cat", "concat", "stack"), _joined),
    **dict.fromkeys(("conv1d", "conv2d", "conv_transpose2d", "linear"), _affine),
    **dict.fromkeys(("add", "sub", "subtract"), _sum),
    **dict.fromkeys(("mul", "multiply", "matmul", "bmm"), _product),
    **dict.fromkeys(("div", "divide", "true_divide"), _quotient),
    **dict.fromkeys(_MAX_POOLS, _max_pool),
    **dict.fromkeys((f"{name}_with_indices" for name in _MAX_POOLS), _max_pool),
    **dict.fromkeys(DROPOUTS, dropped),
    **dict.fromkeys(
        ("size", "dim", "numel", "is_floating_point", "is_contiguous", "stride", "ones_like", "zeros_like"),
        _about,
    ),
    **ATTENTION_RULES,
    "pad": _pad,
    "batch_norm": _batch_norm,
    "synchronised_batch_norm": _synchronised,
    "relu": _sloped(lambda v, *_: v > 0),
    "relu6": _sloped(lambda v, *_: (v > 0) & (v < 6)),
    "hardtanh": _sloped(lambda v, min_val=-1.0, max_val=1.0: (v > min_val) & (v < max_val)),
    "leaky_relu": _sloped(lambda v, negative_slope=0.01: torch.where(v > 0, 1.0, v.new_full((), negative_slope))),
    "prelu": _sloped(_prelu_slope),
    "abs": _sloped(torch.sign),
    "clamp": _sloped(_within),
    "clip": _sloped(_within),
}
