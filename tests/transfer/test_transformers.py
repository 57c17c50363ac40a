"""Derivative maps of torchvision's ViT, whose attention is one of torch's own modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from kdstudy.data import import_torchvision
from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor, trace_maps
from kdstudy.plugins import TRANSFERS
from kdstudy.transfer import TransferContext
from kdstudy.transfer.maps import attention_map

SHAPE = (3, 16, 16)
LAYERS = ("encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1")
TWICE = [
    ("jacobian", {"form": "projection"}),
    ("jacobian", {"form": "peak"}),
    ("hessian", {"form": "hvp"}),
    ("hessian", {"form": "hutchinson"}),
]


def vit(dropped: float = 0.0) -> nn.Module:
    import_torchvision()
    from torchvision.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    return VisionTransformer(
        image_size=16,
        patch_size=4,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=16,
        num_classes=3,
        attention_dropout=dropped,
    ).eval()


def context_of(module: nn.Module) -> TransferContext:
    shapes = ((8, 4, 4),) * 2
    return TransferContext(LAYERS, shapes, shapes, SHAPE, 3, 8, module, module, LAYERS)


def extractor(module: nn.Module) -> FeatureExtractor:
    layouts = {name: layout for name, _, layout in trace_maps(module, SHAPE) if layout is not None}
    return FeatureExtractor(module, LAYERS, layouts={name: layouts[name] for name in LAYERS})


@pytest.mark.parametrize(("method", "form"), [("jacobian", "tangent"), ("hessian", "tangent"), ("hessian", "bilinear")])
def test_forms_by_tangents_are_refused_in_one_line_that_names_the_operation(method: str, form: str) -> None:
    told = "the network calls 'multi_head_attention_forward', which has no tangent rule; choose a double-backward form"
    with pytest.raises(MapError, match=told) as caught:
        TRANSFERS.load(method)(context_of(vit()), form=form)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("method", "options"), TWICE)
def test_forms_by_double_backward_teach_and_learn(method: str, options: dict[str, Any]) -> None:
    module = vit().train()
    transfer, network, images = TRANSFERS.load(method)(context_of(module), **options), extractor(module), _images()
    draws = transfer.draw(images, torch.Generator().manual_seed(2))
    with torch.no_grad():
        taught = transfer.observe(network, images, draws)
    learnt = transfer.observe(network, images, draws)
    loss = sum((own - 0.5 * other).square().sum() for own, other in zip(learnt.maps, taught.maps, strict=True))
    assert isinstance(loss, Tensor)
    loss.backward()
    gradient = module.get_parameter("conv_proj.weight").grad
    assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0


def test_attention_that_is_dropped_at_random_is_refused_while_it_is() -> None:
    module = vit(dropped=0.5)
    transfer, network, images = (
        TRANSFERS.load("jacobian")(context_of(module), form="peak"),
        extractor(module),
        _images(),
    )
    draws = transfer.draw(images, torch.Generator().manual_seed(2))
    transfer.observe(network, images, draws)
    module.train()
    with pytest.raises(MapError, match="drops attention weights at random; set the dropout"):
        transfer.observe(network, images, draws)


def test_the_hessian_map_is_torchs() -> None:
    module = vit()
    transfer, network, images = (
        TRANSFERS.load("hessian")(context_of(module), form="hutchinson"),
        extractor(module),
        _images(),
    )
    module.double()
    draws = transfer.draw(images.double(), torch.Generator().manual_seed(2))
    found = transfer.observe(network, images.double(), draws).maps[1]
    (u,) = draws.images

    def strength(given: Tensor) -> Tensor:
        return attention_map(network(given).features[1]).sum()

    with sdpa_kernel(SDPBackend.MATH):
        _, product = torch.autograd.functional.hvp(strength, images.double(), u.double())
    torch.testing.assert_close(found, u * product)


def _images() -> Tensor:
    return torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))
