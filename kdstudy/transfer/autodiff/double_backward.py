"""Double backward: a forward pass that may be differentiated twice, batch statistics held constant.

In train mode batch norm mixes samples, and the derivative with respect to one image is then off by half at B
= 4 and by a tenth at B = 64. A second stream beside the ordinary pass repeats it with the first one's
statistics held constant; running statistics are updated once, by the ordinary pass. torch has no pass of this kind; the
twin shares `dispatch.py` with `forward_mode.py`, whose top gives the measurement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor, synchronised_batch_norm
from kdstudy.transfer.autodiff.dispatch import DROPOUTS, Streams, apply, dropped, normalisation, positional, unknown

_DROPOUT = 10
"""Place of the share that is dropped among the arguments of `multi_head_attention_forward`."""


class Frozen(Streams):
    """An ordinary pass (main stream) and its twin under constant batch statistics (the one companion)."""

    @property
    def twin(self) -> Tensor:
        """The companion, of shape (q, ...)."""
        return self.companions[0]

    def like(self, value: Tensor, companions: tuple[Tensor, ...]) -> Self:
        """Return the pass one function further."""
        return type(self)(value, companions, self.rows)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Return ``func`` of both streams."""
        kwargs = dict(kwargs or {})
        args = positional(func, args, kwargs)
        if func is functional.batch_norm:
            return _batch_norm(*args, **kwargs)
        if func is synchronised_batch_norm:
            return _synchronised(*args)
        if func is torch.batch_norm:
            unknown("torch.batch_norm")
        if func is functional.multi_head_attention_forward and kwargs.get("training", True) and args[_DROPOUT] > 0:
            raise MapError("map: the network drops attention weights at random; set the dropout of its attention to 0")
        if func.__name__ in DROPOUTS:
            return dropped(func, *args, **kwargs)
        return apply(func, args, kwargs)


def _batch_norm(x: Frozen, running_mean: Tensor | None, running_var: Tensor | None, **options: Any) -> Frozen:
    constants = normalisation(x.value, running_mean, running_var, options["training"])
    twin = functional.batch_norm(x.twin, *constants, **options | {"training": False})
    return x.like(functional.batch_norm(x.value, running_mean, running_var, **options), (twin,))


def _synchronised(
    x: Frozen, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Any
) -> tuple[Frozen, Tensor, Tensor]:
    value, mean, variance = synchronised_batch_norm(x.value, weight, bias, eps, ranks)
    twin = functional.batch_norm(x.twin, mean, variance, weight, bias, training=False, eps=eps)
    return x.like(value, (twin,)), mean, variance


class Differentiable(NamedTuple):
    """A pass whose features may be differentiated with respect to its inputs.

    Attributes:
        logits: (B, K) of the ordinary pass.
        inputs: (q, C, H, W) images, a leaf that requires a gradient.
        features: Output of each crucial layer for the q samples.
    """

    logits: Tensor
    inputs: Tensor
    features: tuple[Tensor, ...]


def differentiable(network: FeatureExtractor, images: Tensor, count: int) -> Differentiable:
    """Run ``network``, gradients enabled, for features that can be differentiated by the image.

    Args:
        network: In train mode an ordinary pass and its twin are run; in eval mode one pass, if q is B.
        images: (B, C, H, W) in [0, 1].
        count: q, the number of samples (the first ones) with features, at least 1.
    """
    with torch.enable_grad():
        inputs = images[:count].detach().requires_grad_()
        if count == len(images) and not any(module.training for module in network.module.modules()):
            output = network(inputs, exact=True)
            return Differentiable(output.logits, inputs, output.features)
        rows = (len(images), count) if count < len(images) else None
        output = network(Frozen(images, (inputs,), rows))
        return Differentiable(output.logits.value, inputs, tuple(feature.twin for feature in output.features))
