"""A small network with three stages, a batch for it, and the context of two such networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kdstudy.transfer import Batch, TransferContext

LAYERS = ("stage1", "stage2", "stage3")
CLASSES = 5


class SmallNet(nn.Module):
    """Normalisation, three times convolution, batch norm, activation, then mean and a linear head.

    Args:
        widths: Channels of each stage.
        activation: Makes the activation of each stage.
        strides: Stride of each stage's convolution.
    """

    mean: Tensor

    def __init__(
        self,
        widths: tuple[int, int, int] = (4, 6, 8),
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        strides: tuple[int, int, int] = (1, 2, 1),
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        channels = 3
        for index, (width, stride) in enumerate(zip(widths, strides, strict=True), start=1):
            conv = nn.Conv2d(channels, width, 3, stride=stride, padding=1)
            self.add_module(f"stage{index}", nn.Sequential(conv, nn.BatchNorm2d(width), activation()))
            channels = width
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 5) of images (B, 3, H, W) in [0, 1]."""
        x = (images - self.mean) / 0.25
        for name in LAYERS:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def small_net(seed: int = 0, dtype: torch.dtype = torch.float64, **options: Any) -> SmallNet:
    """Return a `SmallNet` whose parameters and running statistics have values of no special kind.

    Args:
        seed: Of the values.
        dtype: Of the network.
        **options: Of `SmallNet`.
    """
    module = SmallNet(**options).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and not name.endswith("mean"):
                drawn = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
                tensor.copy_(drawn.abs() + 0.5 if tensor.ndim == 1 else drawn * tensor[0].numel() ** -0.5)
            elif name.endswith("running_mean"):
                tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
    return module


def context_of(student: nn.Module, teacher: nn.Module, size: int = 8) -> TransferContext:
    """Return what a transfer method may know of two `SmallNet`, for images of ``size`` x ``size``."""
    own, other = _shapes(student, size), _shapes(teacher, size)
    return TransferContext(LAYERS, own, other, (3, size, size), CLASSES, 100, student, teacher, LAYERS)


def _shapes(module: nn.Module, size: int) -> tuple[Any, ...]:
    seen: list[Any] = []
    handles = [
        module.get_submodule(name).register_forward_hook(lambda _m, _i, output: seen.append(tuple(output.shape[1:])))
        for name in LAYERS
    ]
    training = module.training
    module.eval()(torch.zeros(1, 3, size, size, dtype=next(module.parameters()).dtype))
    module.train(training)
    for handle in handles:
        handle.remove()
    return tuple(seen)


def small_batch(dtype: torch.dtype = torch.float64) -> Batch:
    """Return six images of 8 x 8 with labels and indices."""
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(6, 3, 8, 8, generator=generator, dtype=torch.float64)
    return Batch(images.to(dtype), torch.randint(0, CLASSES, (6,), generator=generator), torch.arange(6))
