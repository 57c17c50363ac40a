"""Wide ResNets, VGG, MobileNetV2 and ShuffleNets against the sizes that RepDistiller's have."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from kdstudy.models.features import trace
from kdstudy.models.mobilenet import InvertedResidual, mobilenetv2
from kdstudy.models.shufflenet import BottleneckV1, DownBlockV2, Shuffle, SplitBlockV2
from kdstudy.models.vgg import vgg8
from kdstudy.models.wide_resnet import PreactivationBlock, wrn_16_2
from kdstudy.plugins import MODELS

# For 100 classes and 3 channels; published in units of 0.01 M.
PARAMETERS_100 = {
    "wrn_16_1": 180_916,
    "wrn_16_2": 703_284,
    "wrn_40_1": 569_780,
    "wrn_40_2": 2_255_156,
    "vgg8": 3_965_028,
    "vgg13": 9_462_180,
    "mobilenetv2": 812_836,
    "shufflenetv1": 949_258,
    "shufflenetv2": 1_355_528,
}
# Output shapes for images of 32 x 32.
STAGES = {
    "wrn_16_2": {"block1": (32, 32, 32), "block2": (64, 16, 16), "block3": (128, 8, 8)},
    "vgg8": {"block0": (64, 32, 32), "block1": (128, 16, 16), "block2": (256, 8, 8), "block4": (512, 4, 4)},
    "mobilenetv2": {
        "conv1": (16, 16, 16),
        "blocks.1": (12, 16, 16),
        "blocks.2": (16, 8, 8),
        "blocks.4": (48, 4, 4),
        "blocks.6": (160, 2, 2),
        "conv2": (1280, 2, 2),
    },
    "shufflenetv1": {"relu": (24, 32, 32), "layer1": (240, 16, 16), "layer3": (960, 4, 4)},
    "shufflenetv2": {"relu": (24, 32, 32), "layer1": (116, 16, 16), "layer3": (464, 4, 4)},
}


@pytest.mark.parametrize(("name", "published"), PARAMETERS_100.items())
def test_parameter_counts_are_repdistillers(name: str, published: int) -> None:
    module = MODELS.load(name)(100, 3)
    assert sum(parameter.numel() for parameter in module.parameters()) == published


@pytest.mark.parametrize(("name", "expected"), STAGES.items())
def test_stages_have_repdistillers_names_and_shapes(name: str, expected: dict[str, tuple[int, ...]]) -> None:
    shapes = dict(trace(MODELS.load(name)(100, 3), (3, 32, 32)))
    assert {stage: shapes[stage] for stage in expected} == expected


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("wrn_16_1", {"conv1.weight", "block2.layer.0.convShortcut.weight", "block3.layer.1.conv2.weight"}),
        ("vgg13", {"block0.0.weight", "block4.3.weight", "block4.4.running_var", "classifier.bias"}),
        (
            "mobilenetv2",
            {"conv1.0.weight", "blocks.5.2.conv.7.weight", "conv2.1.bias", "classifier.0.weight"},
        ),
        ("shufflenetv1", {"conv1.weight", "layer2.7.conv3.weight", "layer3.3.bn3.weight", "linear.weight"}),
        ("shufflenetv2", {"layer1.0.conv5.weight", "layer2.7.bn3.weight", "conv2.weight", "linear.bias"}),
    ],
)
def test_weights_have_repdistillers_names(name: str, keys: set[str]) -> None:
    assert keys <= set(MODELS.load(name)(10, 3).state_dict())


def test_large_images_are_pooled_once_more_by_vgg() -> None:
    assert dict(trace(vgg8(10, 3), (3, 64, 64)))["block4"] == (512, 4, 4)
    assert dict(trace(vgg8(10, 3), (3, 48, 48)))["block4"] == (512, 6, 6)


def test_a_preactivation_block_adds_its_plain_input_where_shapes_agree() -> None:
    block = PreactivationBlock(4, 4, 1, 0.0).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(block(x), x)
    wider = PreactivationBlock(4, 6, 2, 0.0).eval()
    nn.init.zeros_(wider.conv2.weight)
    active = functional.relu(wider.bn1(x))
    torch.testing.assert_close(wider(x), functional.conv2d(active, wider.convShortcut.weight, stride=2))


def test_wide_resnets_drop_between_the_convolutions() -> None:
    torch.manual_seed(0)
    network = wrn_16_2(10, 3, dropout=0.5)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(network.eval()(images), network(images))
    network.train()
    assert not torch.equal(network(images), network(images))


def test_an_inverted_residual_adds_where_shapes_agree_and_ends_linearly() -> None:
    x = torch.randn(2, 4, 6, 6)
    block = InvertedResidual(4, 4, 1, 6).eval()
    assert torch.equal(block(x), x + block.conv(x))
    assert not InvertedResidual(4, 4, 2, 6).adds
    assert isinstance(block.conv[-1], nn.BatchNorm2d)


def test_mobilenets_width_scales_its_channels() -> None:
    network = mobilenetv2(10, 3, width=1.0)
    assert network.conv1[0].out_channels == 32
    assert network.conv2[0].out_channels == 1280
    assert mobilenetv2(10, 3, width=1.5).conv2[0].out_channels == 1920


def test_a_shuffle_deals_channels_round_robin() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert Shuffle(2)(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert Shuffle(3)(x).flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_shufflenet_blocks_keep_or_halve() -> None:
    x = torch.randn(2, 24, 8, 8)
    assert BottleneckV1(24, 216, 2, 3)(x).shape == (2, 240, 4, 4)
    assert DownBlockV2(24, 116)(x).shape == (2, 116, 4, 4)
    kept = SplitBlockV2(24).eval()(x)
    # The unchanged half, dealt to the even channels.
    assert torch.equal(kept[:, ::2], x[:, :12])
