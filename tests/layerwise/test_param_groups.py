"""Every parameter in exactly one group, and in the right one."""

import pytest
import torch
from torch import Tensor, nn

from kdstudy.errors import ModelError
from kdstudy.layerwise.param_groups import layer_groups
from kdstudy.models import build_model

SHAPE = (3, 8, 8)
STAGES = ["layer1", "layer2", "layer3"]


def network(name: str, shape: tuple[int, int, int] = SHAPE) -> nn.Module:
    statistics = (0.5,) * shape[0]
    return build_model(name, {}, num_classes=10, image_shape=shape, mean=statistics, std=statistics, seed=0)


@pytest.mark.parametrize("name", ["resnet8", "resnet56", "resnet32x4"])
@pytest.mark.parametrize("layers", [STAGES, ["layer2"], []])
def test_every_parameter_is_in_exactly_one_group(name: str, layers: list[str]) -> None:
    module = network(name)
    groups = layer_groups(module, layers, SHAPE)
    assert list(groups) == [*layers, "head"]
    grouped = [name for names in groups.values() for name in names]
    assert sorted(grouped) == sorted(name for name, _ in module.named_parameters())


def test_a_parameter_belongs_to_the_first_layer_that_completes_with_or_after_it() -> None:
    groups = layer_groups(network("resnet8"), STAGES, SHAPE)
    assert {name.split(".")[0] for name in groups["layer1"]} == {"conv1", "bn1", "layer1"}
    assert {name.split(".")[0] for name in groups["layer2"]} == {"layer2"}
    assert groups["head"] == ["fc.weight", "fc.bias"]


def test_layers_need_not_be_given_in_order() -> None:
    module = network("resnet8")
    assert layer_groups(module, STAGES[::-1], SHAPE) == layer_groups(module, STAGES, SHAPE)


def test_a_layer_inside_a_stage_divides_it() -> None:
    groups = layer_groups(network("resnet20"), ["layer1.0.conv1", "layer1"], SHAPE)
    assert groups["layer1.0.conv1"] == ["conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.conv1.weight"]
    assert "layer1.0.bn1.weight" in groups["layer1"]
    assert "layer2.0.conv1.weight" in groups["head"]


class Odd(nn.Module):
    """Parameters of its own, a module that never runs, one that gives a tuple, and one run out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.last = nn.Conv2d(4, 4, 1)
        self.unused = nn.Linear(2, 2)
        self.first = Paired()

    def forward(self, images: Tensor) -> Tensor:
        return (self.last(self.first(images)) * self.scale).mean((2, 3))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        return nn.functional.conv2d(images, self.weight), None


class Paired(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Pair()

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.inner(images)[0]
        return out


def test_order_is_that_of_execution_and_what_never_runs_is_in_the_head() -> None:
    groups = layer_groups(Odd(), ["last", "first"], SHAPE)
    assert groups == {
        "first": ["first.inner.weight"],
        "last": ["last.weight", "last.bias"],
        "head": ["scale", "unused.weight", "unused.bias"],
    }


@pytest.mark.parametrize("layer", ["layer9", "head"])
def test_a_layer_that_cannot_be_is_refused(layer: str) -> None:
    module = network("resnet8")
    module.add_module("head", nn.Identity())
    with pytest.raises(ModelError, match=f"'{layer}' cannot be a crucial layer"):
        layer_groups(module, [layer], SHAPE)
