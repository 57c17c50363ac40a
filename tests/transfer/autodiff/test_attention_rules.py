"""Tangents of transformers, against torch.func.jvp in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close

from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor, trace_maps
from kdstudy.transfer import TransferContext
from kdstudy.transfer.autodiff.forward_mode import Dual
from kdstudy.transfer.hessian import HessianTransfer
from kdstudy.transfer.jacobian import JacobianTransfer
from tests.transformers import Hierarchy, ViT


def pair(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


MASK = torch.tensor([0.0, -1.0, 2.0, 0.5], dtype=torch.float64)
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: functional.softmax(x, dim=1),
    "softmax, a method": lambda x: x.softmax(-1),
    "layer norm": lambda x: functional.layer_norm(x, (6,)),
    "layer norm of two dimensions, with weights": lambda x: functional.layer_norm(
        x, (4, 6), torch.arange(24.0, dtype=torch.float64).view(4, 6), torch.ones(4, 6, dtype=torch.float64), 0.1
    ),
    "gelu": functional.gelu,
    "tanh gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "matmul": lambda x: x @ x.transpose(-2, -1),
    "roll": lambda x: x.roll((1, 2), (1, 2)) * x,
    "attention": lambda x: functional.scaled_dot_product_attention(x, x * 2, x + 1),
    "attention, masked and scaled": lambda x: functional.scaled_dot_product_attention(
        x, x * x, x, attn_mask=MASK, scale=0.7
    ),
    "attention, some left out": lambda x: functional.scaled_dot_product_attention(x, x, x, attn_mask=MASK > -1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("rows", [3, 2])
def test_a_tangent_is_that_of_torch(name: str, rows: int) -> None:
    point, direction = pair(3, 4, 6)
    value, tangent = torch.func.jvp(FUNCTIONS[name], (point,), (direction,))
    dual = FUNCTIONS[name](Dual(point, (direction[:rows],)))
    assert_close(dual.value, value, rtol=1e-12, atol=1e-12)
    assert_close(dual.tangents[0], tangent[:rows], rtol=1e-10, atol=1e-12)
    assert dual.curved


@pytest.mark.parametrize(
    ("module", "layer"),
    [(ViT(depth=3, registers=1), "blocks.1"), (ViT(depth=2, plain=True), "blocks"), (Hierarchy(), "stages.1")],
)
def test_a_transformers_tangents_and_their_gradients_are_torchs(module: nn.Module, layer: str) -> None:
    module = module.double().eval()
    images, direction = pair(2, 3, 32, 32)
    layout = next(each.layout for each in trace_maps(module.float(), (3, 32, 32)) if each.name == layer)
    network = FeatureExtractor(module.double(), [layer], layouts={layer: layout})  # type: ignore[dict-item]

    def reference() -> tuple[Tensor, Tensor]:
        with sdpa_kernel(SDPBackend.MATH):  # the one that torch differentiates forwards
            value, tangent = torch.func.jvp(lambda x: network(x).features[0], (images,), (direction,))
        return value, tangent

    (dual,) = network(Dual(images, (direction,))).features
    value, tangent = reference()
    assert_close(dual.value, value, rtol=1e-10, atol=1e-12)
    assert_close(dual.tangents[0], tangent, rtol=1e-8, atol=1e-12)
    # Gradients of tangents, by differences: torch 2.13's own differ from these by some percent.
    weights = list(module.parameters())
    gradients = torch.autograd.grad(dual.tangents[0].square().sum(), weights, allow_unused=True, materialize_grads=True)
    steps = [torch.randn(each.shape, generator=torch.Generator().manual_seed(1)).double() for each in weights]
    energies = []
    for size in (1e-5, -2e-5):
        with torch.no_grad():
            for weight, step in zip(weights, steps, strict=True):
                weight.add_(size * step)
        energies.append(reference()[1].square().sum().item())
    slope = sum((gradient * step).sum().item() for gradient, step in zip(gradients, steps, strict=True))
    assert (energies[0] - energies[1]) / 2e-5 == pytest.approx(slope, rel=1e-5)


def context_of(module: nn.Module) -> TransferContext:
    layers, shapes = ("blocks.0", "blocks.1"), ((24, 8, 8),) * 2
    return TransferContext(layers, shapes, shapes, (3, 32, 32), 10, 8, module, module, layers)


def test_jacobian_maps_take_transformers_and_curved_hessians_refuse_them() -> None:
    module = ViT(depth=2)
    JacobianTransfer(context_of(module))
    with pytest.raises(MapError, match=r"calls '(layer_norm|softmax|matmul|gelu)'; choose form: hvp"):
        HessianTransfer(context_of(module))


def test_an_operation_without_a_rule_is_refused_in_one_line() -> None:
    class Odd(ViT):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.cummax(dim=2).values)

    with pytest.raises(MapError, match="the network calls 'cummax', which has no tangent rule") as caught:
        JacobianTransfer(context_of(Odd(depth=2)))
    assert "\n" not in str(caught.value)
