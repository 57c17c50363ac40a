"""torchvision's networks: stems, channels, and names beyond the registered ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdstudy.errors import ModelError, PluginError
from kdstudy.models import build_model
from kdstudy.models.features import FeatureExtractor, trace
from kdstudy.models.torchvision_models import PAPERS, resnet18, resnet50
from kdstudy.plugins import MODELS

MODULE = "kdstudy.models.torchvision_models"


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_a_resnet_is_torchvisions_own_unless_its_stem_is_small() -> None:
    from kdstudy.data import import_torchvision

    torchvision = import_torchvision()
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=7)
    torch.manual_seed(0)
    ours = resnet18(7, 3)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(ours.eval()(images), theirs.eval()(images))


def test_a_small_stem_leaves_the_size_alone() -> None:
    shapes = dict(trace(resnet18(10, 3, stem="small"), (3, 32, 32)))
    assert [shapes[f"layer{n}"] for n in (1, 2, 3, 4)] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
    ]


def test_resnet50_with_a_small_stem_has_repdistillers_size() -> None:
    assert parameters(resnet50(100, 3, stem="small")) == 23_705_252


@pytest.mark.parametrize("name", PAPERS)
def test_every_registered_network_takes_grey_images_with_a_small_stem(name: str) -> None:
    module = build_model(
        f"tv_{name}",
        {"stem": "small"},
        num_classes=4,
        image_shape=(1, 32, 32),
        mean=(0.5,),
        std=(0.5,),
        seed=0,
    )
    largest = max(shape[1] for layer, shape in trace(module, (1, 32, 32)) if len(shape) == 3 and layer != "normalise")
    assert largest == 32
    assert f"tv_{name}" in MODELS


@pytest.mark.parametrize("name", ["resnext50_32x4d", "regnet_x_400mf", "mnasnet0_5"])
def test_any_other_network_of_a_known_family_is_named_by_its_module(name: str) -> None:
    module = build_model(
        f"{MODULE}:{name}",
        {"stem": "small"},
        num_classes=4,
        image_shape=(3, 32, 32),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        seed=0,
    )
    assert module(torch.rand(2, 3, 32, 32)).shape == (2, 4)
    assert list(MODELS.options(f"{MODULE}:{name}")) == ["stem"]


def test_hooks_record_what_torchvisions_feature_extraction_gives() -> None:
    from kdstudy.data import import_torchvision

    import_torchvision()
    from torchvision.models.feature_extraction import create_feature_extractor

    module = resnet18(10, 3).eval()
    images = torch.rand(2, 3, 32, 32)
    theirs = create_feature_extractor(module, ["layer1", "layer3"])(images)
    ours = FeatureExtractor(module, ("layer1", "layer3"))(images).features
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs.values(), strict=True))


def test_names_that_are_none_are_refused_in_one_line() -> None:
    with pytest.raises(ModelError, match="no network 'resnet19'"):
        MODELS.load(f"{MODULE}:resnet19")(10, 3)
    with pytest.raises(PluginError, match="it knows torchvision's densenet") as caught:
        MODELS.load(f"{MODULE}:vit_b_16")
    assert "\n" not in str(caught.value)
