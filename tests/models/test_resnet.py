"""Sizes against the published ones, shapes for every image size a study uses."""

import pytest
import torch
from torch import nn

from kdstudy.models.resnet import SubsampleAndPad, resnet8, resnet20, resnet56
from kdstudy.plugins import MODELS

# For 100 classes and 3 channels; published as 0.08, 0.18, 0.28, 0.47, 0.86, 1.74, 1.23 and 7.43 M.
PARAMETERS_100 = {
    "resnet8": 83_892,
    "resnet14": 181_108,
    "resnet20": 278_324,
    "resnet32": 472_756,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("name", "published"), PARAMETERS_100.items())
def test_parameter_counts_are_repdistillers(name: str, published: int) -> None:
    assert count(MODELS.load(name)(100, 3)) == published


def test_parameter_counts_of_shortcut_a_are_those_of_the_public_cifar10_checkpoints() -> None:
    assert count(resnet20(10, 3, shortcut="A")) == 269_722
    assert count(resnet56(10, 3, shortcut="A")) == 853_018


def test_resnet8_is_the_size_its_documentation_says() -> None:
    assert count(resnet8(10, 3)) == 78_042


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (1, 16, 16), (3, 7, 9)])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_any_image_shape_gives_logits(shape: tuple[int, int, int], shortcut: str) -> None:
    logits = MODELS.load("resnet14")(7, shape[0], shortcut=shortcut)(torch.rand(2, *shape))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_wide_networks_widen_in_the_first_stage(shortcut: str) -> None:
    network = MODELS.load("resnet8x4")(10, 3, shortcut=shortcut)
    assert network.layer1(torch.rand(1, 32, 8, 8)).shape == (1, 64, 8, 8)


def test_shortcut_a_keeps_every_second_position_between_channels_of_zeros() -> None:
    image = torch.arange(32.0).view(1, 2, 4, 4)
    out = SubsampleAndPad(extra=2, stride=2)(image)
    expected = torch.tensor([[[0.0, 0], [0, 0]], [[0, 2], [8, 10]], [[16, 18], [24, 26]], [[0, 0], [0, 0]]])
    assert torch.equal(out[0], expected)


def test_convolutions_are_initialised_as_he_et_al() -> None:
    torch.manual_seed(0)
    weight = resnet56(10, 3).layer3[0].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


def test_no_activation_works_in_place() -> None:
    assert not any(getattr(module, "inplace", False) for module in resnet20(10, 3).modules())
