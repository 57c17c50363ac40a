"""A small network with three stages, in the shapes a transfer method meets, and a context of two of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdstudy.transfer.base import Batch, TransferContext

LAYERS = ("stage1", "stage2", "stage3")


class SmallNet(nn.Module):
    """Normalisation, three times convolution, batch norm, activation, then mean and a linear head."""

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
        self.fc = nn.Linear(channels, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = (images - self.mean) / 0.25
        return self.fc(self.stage3(self.stage2(self.stage1(x))).mean((2, 3)))


def settle(module: nn.Module, seed: int) -> nn.Module:
    """Give every parameter and running statistic a value of no special kind."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and not name.endswith("mean"):
                drawn = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
                tensor.copy_(drawn.abs() + 0.5 if tensor.ndim == 1 else drawn * tensor[0].numel() ** -0.5)
            elif name.endswith("running_mean"):
                tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
    return module


@pytest.fixture
def small_net() -> Callable[..., nn.Module]:
    def build(seed: int = 0, dtype: torch.dtype = torch.float64, **options: Any) -> nn.Module:
        return settle(SmallNet(**options).to(dtype), seed)

    return build


@pytest.fixture
def context_of() -> Callable[..., TransferContext]:
    def build(student: nn.Module, teacher: nn.Module, size: int = 8) -> TransferContext:
        def shapes(module: nn.Module) -> tuple[Any, ...]:
            seen: list[Any] = []
            handles = [
                module.get_submodule(name).register_forward_hook(
                    lambda _m, _i, output: seen.append(tuple(output.shape[1:]))
                )
                for name in LAYERS
            ]
            training = module.training
            module.eval()(torch.zeros(1, 3, size, size, dtype=next(module.parameters()).dtype))
            module.train(training)
            for handle in handles:
                handle.remove()
            return tuple(seen)

        return TransferContext(
            LAYERS, shapes(student), shapes(teacher), (3, size, size), 5, 100, student, teacher, LAYERS
        )

    return build


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(6, 3, 8, 8, generator=generator, dtype=torch.float64)
    return Batch(images, torch.randint(0, 5, (6,), generator=generator), torch.arange(6))
