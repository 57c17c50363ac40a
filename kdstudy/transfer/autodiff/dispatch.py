"""Dispatch of torch functions to `Streams`: several tensors that go through one forward pass of a network.

A network is called with a `Streams` object in place of its images. Every torch function it calls arrives at
`Streams.__torch_function__`, where a subclass says what happens to the main stream and to the companions.
Forward hooks see whatever a layer returns, so `kdstudy.models.FeatureExtractor` records streams as it records tensors.
What this is worth beside torch's own forward mode stands at the top of `forward_mode.py`.

A companion may hold the first q of the B samples only. Whatever keeps samples apart works on it unchanged; a
function that would mix samples, or move them, is refused.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Self

import torch
from torch import Tensor

from kdstudy.errors import MapError

_PROPERTIES = frozenset({"is_nested", "shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_cuda"})
_SIZED = frozenset({"view", "reshape", "expand"})
_ROWWISE = frozenset({"add", "sub", "mul", "div", "true_divide", "where", "cat", "stack"})
DROPOUTS = frozenset({"dropout", "dropout1d", "dropout2d", "dropout3d"})


class Streams(ABC):
    """A main tensor and its companions, each with the shape of the main one in all but the number of samples.

    Args:
        value: The main stream, of shape (B, ...) at the network's input.
        companions: Each of shape (q, ...) with 1 <= q <= B.
        rows: (B, q) where q < B, else None. Kept through the network to see that samples stay where they are.

    Raises:
        MapError: The shapes do not agree: a layer mixes samples.
    """

    def __init__(self, value: Tensor, companions: tuple[Tensor, ...], rows: tuple[int, int] | None) -> None:
        self.value = value
        self.companions = companions
        self.rows = rows
        expected = value.shape if rows is None else (rows[1], *value.shape[1:])
        kept = rows is None or (value.ndim > 0 and value.shape[0] == rows[0])
        if not kept or any(companion.shape != torch.Size(expected) for companion in companions):
            raise MapError(
                f"map: a layer mixes or moves samples (shape {tuple(value.shape)}) where only part of the "
                "batch has a derivative; set fraction: 1.0"
            )

    @classmethod
    @abstractmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Return ``func`` of all streams."""

    @abstractmethod
    def like(self, value: Tensor, companions: tuple[Tensor, ...]) -> Self:
        """Return streams of this kind that follow from these."""

    def become(self, other: Self) -> Self:
        """Take the other's contents: what an in-place function does to its argument."""
        self.__dict__.update(other.__dict__)
        return self

    def first(self, tensor: Tensor) -> Tensor:
        """Return the samples of ``tensor``, of shape (B, ...), that the companions hold."""
        return tensor if self.rows is None else tensor[: self.rows[1]]

    def constant(self, operand: Any) -> Any:
        """Return an operand shared by all streams, cut to the companions' samples if it has one row each."""
        if isinstance(operand, (list, tuple)):
            return [self.constant(item) for item in operand]
        if self.rows is None or not isinstance(operand, Tensor) or operand.ndim != self.value.ndim:
            return operand
        return self.first(operand) if operand.shape[0] == self.rows[0] else operand

    # Methods and operators of a tensor, so that a network need not know what it is given.

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(Tensor, name):
            raise AttributeError(name)
        if name in _PROPERTIES:
            return getattr(self.value, name)
        method = getattr(Tensor, name)
        if not callable(method):
            unknown(name)
        return functools.partial(self._call, method)

    def _call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.__torch_function__(func, (type(self),), (self, *args), kwargs)

    def __add__(self, other: Any) -> Any:
        return self._call(torch.add, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._call(torch.sub, other)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __mul__(self, other: Any) -> Any:
        return self._call(torch.mul, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self._call(torch.div, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._call(torch.pow, -1) * other

    def __matmul__(self, other: Any) -> Any:
        return self._call(torch.matmul, other)

    def __pow__(self, exponent: Any) -> Any:
        return self._call(torch.pow, exponent)

    def __neg__(self) -> Any:
        return self._call(torch.neg)

    def __getitem__(self, index: Any) -> Any:
        return self._call(Tensor.__getitem__, index)

    def __gt__(self, other: Any) -> Any:
        return self.value > other

    def __lt__(self, other: Any) -> Any:
        return self.value < other

    def __len__(self) -> int:
        return len(self.value)


def unknown(name: str) -> NoReturn:
    """Raise that there is no derivative rule for the function called ``name``.

    Raises:
        MapError: Always.
    """
    raise MapError(
        f"map: the network calls '{name}', which has no tangent rule; choose a double-backward form instead "
        "(jacobian: form: projection, hessian: form: hvp)"
    )


def every(tree: Any) -> Iterator[Streams]:
    """Return the streams among (nested) arguments, in order."""
    if isinstance(tree, Streams):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            yield from every(item)


def replace(tree: Any, choose: Callable[[Streams], Tensor]) -> Any:
    """Return (nested) arguments with every streams object replaced by one of its tensors."""
    if isinstance(tree, Streams):
        return choose(tree)
    if isinstance(tree, (list, tuple)) and next(every(tree), None) is not None:
        return [replace(item, choose) for item in tree]
    return tree


def _companion(index: int) -> Callable[[Streams], Tensor]:
    return lambda streams: streams.companions[index]


def positional(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Return the arguments with a leading tensor given by name moved to its place; it leaves ``kwargs``."""
    for name in ("input", "tensors"):
        if name in kwargs:
            args = (kwargs.pop(name), *args)
    if next(every(list(kwargs.values())), None) is not None:
        unknown(f"{func.__name__}, with tensors by keyword")
    return args


def apply(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return ``func`` applied to each stream by itself: streams, or a tuple if ``func`` returns several."""
    source = next(every(args))
    value = func(*replace(args, lambda streams: streams.value), **kwargs)
    if not isinstance(value, (Tensor, list, tuple)):
        return value
    fitted = _fit(func.__name__, args, source)
    others = [func(*replace(fitted, _companion(index)), **kwargs) for index in range(len(source.companions))]
    if isinstance(value, Tensor):
        return source.like(value, tuple(others))
    return tuple(
        source.like(part, tuple(other[i] for other in others)) if isinstance(part, Tensor) else part
        for i, part in enumerate(value)
    )


def _fit(name: str, args: tuple[Any, ...], source: Streams) -> tuple[Any, ...]:
    """Return the arguments of a companion that has fewer samples: named sizes and constants cut to them."""
    if source.rows is None:
        return args
    samples, kept = source.rows
    if name in _SIZED:
        sizes = tuple(args[1]) if isinstance(args[1], (list, tuple)) else args[1:]
        return (args[0], (kept if sizes[0] == samples else sizes[0], *sizes[1:]))
    if name == "__getitem__":
        index = args[1][0] if isinstance(args[1], tuple) else args[1]
        if index is not Ellipsis and not (isinstance(index, slice) and index == slice(None)):
            unknown("indexing of samples")
    return tuple(source.constant(item) for item in args) if name in _ROWWISE else args


def normalisation(x: Tensor, mean: Tensor | None, variance: Tensor | None, training: bool) -> tuple[Tensor, Tensor]:
    """Return the mean and variance batch norm applies to ``x``, detached: constants for every derivative."""
    if training or mean is None or variance is None:
        dims = [0, *range(2, x.ndim)]
        variance, mean = torch.var_mean(x.detach(), dim=dims, correction=0)
    return mean, variance


def dropped(func: Callable[..., Any], x: Streams, *args: Any, **kwargs: Any) -> Streams:
    """Return dropout with one mask for all streams; torch's random stream advances as it always does."""
    mask = func(torch.ones_like(x.value), *args, **kwargs)
    return x.like(x.value * mask, tuple(item * x.first(mask) for item in x.companions))
