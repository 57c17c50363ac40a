"""A synchronised batch norm of one process is torch's own: values, gradients, running statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from kdstudy.errors import ModelError
from kdstudy.models import synchronise_batch_norms


class Alone:
    """One process that holds the whole batch."""

    size = 1

    def gather(self, tensor: Tensor) -> Tensor:
        return tensor.unsqueeze(0)


def after(norm: nn.Module, images: Tensor, slope: Tensor) -> list[Tensor]:
    """Run a batch forwards and backwards; return values, gradients and running statistics."""
    leaf = images.clone().requires_grad_()
    value = norm(leaf)
    value.backward(slope)
    return [value, leaf.grad, *(each.grad for each in norm.parameters()), *norm.buffers()]


@pytest.mark.parametrize(
    "options", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}], ids=str
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_alone_it_is_torchs_own(options: dict, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    own = nn.BatchNorm2d(3, **options).double()
    plain = copy.deepcopy(own)
    synchronise_batch_norms(own, Alone())
    for _ in range(2):
        images = (torch.randn(4, 3, 5, 5, dtype=torch.float64) * 3 + 1).to(memory_format=layout)
        slope = torch.randn_like(images)
        for mine, theirs in zip(after(own, images, slope), after(plain, images, slope), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)
    own.eval(), plain.eval()
    assert torch.allclose(own(images), plain(images))


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_statistics_of_low_precision_are_of_full_precision(low: torch.dtype) -> None:
    torch.manual_seed(0)
    own = nn.BatchNorm2d(3)
    plain = copy.deepcopy(own)
    synchronise_batch_norms(own, Alone())
    images = (torch.randn(16, 3, 8, 8) * 3 + 1).to(low)
    slope = torch.randn_like(images)
    for mine, theirs in zip(after(own, images, slope), after(plain, images, slope), strict=True):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_on_a_gpu_it_is_torchs_own(kind: torch.dtype, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    own = nn.BatchNorm2d(3).cuda()
    plain = copy.deepcopy(own)
    synchronise_batch_norms(own, Alone())
    images = (torch.randn(16, 3, 8, 8) * 3 + 1).to("cuda", kind).to(memory_format=layout)
    slope = torch.randn_like(images)
    for mine, theirs in zip(after(own, images, slope), after(plain, images, slope), strict=True):
        torch.testing.assert_close(mine, theirs)


class Odd(nn.BatchNorm2d):
    pass


def test_one_of_a_kind_of_its_own_is_refused() -> None:
    with pytest.raises(ModelError, match=r"layer '0' is a batch norm of a kind of its own \(Odd\); write false"):
        synchronise_batch_norms(nn.Sequential(Odd(3)), Alone())
