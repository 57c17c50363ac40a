"""Pairs of networks that pad by modules of their own: what is padded is no map at which networks are compared."""

from __future__ import annotations

import importlib

import pytest
from torch import Tensor, nn

from kdstudy.layerwise.matching import match_layers
from kdstudy.models import build_model, trace_maps

SHAPE = (3, 32, 32)


class Padded(nn.Module):
    """A convolution in "same" padding, as networks that came from TensorFlow have it: a module pads by one."""

    def __init__(self, inward: int, outward: int, stride: int) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else 1)
        self.conv = nn.Conv2d(inward, outward, 3, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.pad(x))


class Inverted(nn.Module):
    """An inverted residual block: wider inside, its grid halved by the second of three convolutions."""

    def __init__(self, inward: int, outward: int, stride: int) -> None:
        super().__init__()
        self.expand, self.depthwise = Padded(inward, 4 * inward, 1), Padded(4 * inward, 4 * inward, stride)
        self.project = nn.Conv2d(4 * inward, outward, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.depthwise(self.expand(x)))


def test_blocks_are_paired_not_what_is_inside_one() -> None:
    blocks = nn.Sequential(*(Inverted(8, 8, stride) for stride in (1, 1, 2, 1, 2, 1)))
    teacher = nn.Sequential(Padded(3, 8, 1), blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    grey = (0.5,) * 3
    student = build_model("resnet8", {}, num_classes=10, image_shape=SHAPE, mean=grey, std=grey, seed=0)
    pairs = match_layers(trace_maps(student, SHAPE), trace_maps(teacher, SHAPE))
    assert [pair.teacher for pair in pairs] == ["1.1", "1.3", "1"]  # 1, all blocks, ends with 1.5
    assert [pair.teacher_shape for pair in pairs] == [(8, 32, 32), (8, 16, 16), (8, 8, 8)]


def test_efficientnet_lite0_is_paired_at_its_blocks() -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="the package of the network is not installed")
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    grey, shape = (0.5,) * 3, (3, 64, 64)
    student = build_model("tv_resnet18", {}, num_classes=10, image_shape=shape, mean=grey, std=grey, seed=0)
    pairs = match_layers(trace_maps(student, shape), trace_maps(network, shape))
    assert [(pair.student, pair.teacher) for pair in pairs] == [
        ("relu", "_blocks.0"),
        ("layer1", "_blocks.2"),
        ("layer2", "_blocks.4"),
        ("layer3", "_blocks.10"),
        ("layer4", "_conv_head"),
    ]
