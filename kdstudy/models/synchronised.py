"""Batch norm over a batch that several processes hold parts of: the statistics are those of the whole batch.

torch's own `SyncBatchNorm` runs on accelerators only, replaces the modules, and cannot be asked for the statistics,
which the derivative streams of `kdstudy.transfer.autodiff` hold constant.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import handle_torch_function, has_torch_function_unary

from kdstudy.errors import ModelError

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Collectives(Protocol):
    """What processes that hold equal parts of a batch tell each other; all of them call the same in the same order."""

    size: int

    def gather(self, tensor: Tensor) -> Tensor:
        """Return every process's tensor, (W, ...), without gradients."""


def synchronise_batch_norms(module: nn.Module, ranks: Collectives) -> None:
    """Let every batch norm of a network take its statistics over the parts of all processes, in train mode.

    Modules, names, weights and hooks stay what they are.

    Raises:
        ModelError: One is of a kind of its own.
    """
    for name, child in module.named_modules():
        if not isinstance(child, _BatchNorm):
            continue
        if type(child) not in _KINDS:
            raise ModelError(
                f"numerics.sync_batch_norm: layer '{name}' is a batch norm of a kind of its own "
                f"({type(child).__name__}); write false, or resources.ranks: 1"
            )
        child.forward = functools.partial(_forward, child, ranks)  # type: ignore[method-assign]


def _forward(norm: _BatchNorm, ranks: Collectives, x: Any) -> Any:
    if not norm.training:
        return type(norm).forward(norm, x)
    norm._check_input_dim(x)
    value, mean, variance = synchronised_batch_norm(x, norm.weight, norm.bias, norm.eps, ranks)
    if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        new: Any = 1.0 / norm.num_batches_tracked.double() if norm.momentum is None else norm.momentum
        count = math.prod(x.shape) // x.shape[1] * ranks.size
        norm.running_mean.copy_(torch.lerp(norm.running_mean, mean.to(norm.running_mean), _weight(new, norm)))
        unbiased = (variance * (count / (count - 1))).to(norm.running_var)
        norm.running_var.copy_(torch.lerp(norm.running_var, unbiased, _weight(new, norm)))
    return value


def _weight(new: Any, norm: _BatchNorm) -> Any:
    return new.to(norm.running_mean) if isinstance(new, Tensor) else new


def synchronised_batch_norm(
    x: Any, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Collectives
) -> tuple[Any, Tensor, Tensor]:
    """Return the normalised part of a batch, and the mean and biased variance of the whole batch, (C,), constants.

    Args:
        x: (B, C, ...), this process's part, as large as the others'; or streams of derivatives.
        weight: (C,), or None for 1.
        bias: (C,), or None for 0.
        eps: Added to the variance.
        ranks: The processes.
    """
    if has_torch_function_unary(x):
        found: tuple[Any, Tensor, Tensor] = handle_torch_function(
            synchronised_batch_norm, (x,), x, weight, bias, eps, ranks
        )
        return found
    made: tuple[Any, Tensor, Tensor] = _SynchronisedBatchNorm.apply(x, weight, bias, eps, ranks)  # type: ignore[no-untyped-call]
    return made


class _SynchronisedBatchNorm(torch.autograd.Function):
    """torch's kernels on this process's part; one exchange of 2 C numbers in each direction."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Collectives
    ) -> tuple[Tensor, Tensor, Tensor]:
        # The kernel's own statistics: `torch.var_mean` takes longer than the whole pass.
        # They are of the precision of the running ones that it is given, and that no momentum leaves as they are.
        running = x.new_zeros(x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))
        own = torch.batch_norm_update_stats(x, running, running, 0.0)
        means_WC, variances_WC = ranks.gather(torch.stack(own)).unbind(1)
        mean = means_WC.mean(0)
        variance = variances_WC.mean(0) + (means_WC - mean).square().mean(0)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.ranks = eps, ranks
        ctx.mark_non_differentiable(mean, variance)
        return functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, *_constants: Any) -> tuple[Tensor | None, ...]:
        """The gradient with the statistics held constant, less what flows through them; rounded once."""
        x, weight, mean, variance = ctx.saved_tensors
        own = torch.ones_like(mean) if weight is None else weight
        inverse = (variance + ctx.eps).rsqrt()
        # Both forms of the statistics: CUDA's kernel for sums alone asks for the second.
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            slope, x, own, mean, variance, mean, inverse, False, ctx.eps, [False, True, True]
        )
        # Gathered and added up here: for so few numbers gloo's sum takes two to four times as long.
        sum_bias, sum_weight = ctx.ranks.gather(torch.stack([of_bias, of_weight])).sum(0).unbind()
        per_entry = own * inverse / (x.numel() // x.shape[1] * ctx.ranks.size)
        along_x = per_entry * inverse * sum_weight
        shape = (1, -1, *[1] * (x.ndim - 2))
        of_x = slope * (own * inverse).view(shape)
        of_x.addcmul_(along_x.view(shape), x, value=-1).sub_((per_entry * sum_bias - along_x * mean).view(shape))
        _, weighed, biased, *_ = ctx.needs_input_grad
        return of_x.to(x.dtype), of_weight if weighed else None, of_bias if biased else None, None, None
