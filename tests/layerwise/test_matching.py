"""Matching layers of two networks by the size of their outputs."""

import itertools

import pytest
import torch
from torch import nn

from kdstudy.errors import ModelError
from kdstudy.layerwise.matching import LayerPair, Trace, match_layers
from kdstudy.models import build_model, trace
from kdstudy.plugins import MODELS


def traced(name: str, shape: tuple[int, int, int] = (3, 8, 8), **options: str) -> Trace:
    grey = (0.5,) * shape[0]
    module = build_model(name, options, num_classes=10, image_shape=shape, mean=grey, std=grey, seed=0)
    return trace(module, shape)


RESNETS = [name for name in MODELS if name.startswith("resnet")]


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8)])
def test_every_pair_of_cifar_resnets_matches_at_its_stages(shape: tuple[int, int, int]) -> None:
    traces = {name: traced(name, shape) for name in RESNETS}
    for student, teacher in itertools.product(traces, traces):
        pairs = match_layers(traces[student], traces[teacher])
        assert [(pair.student, pair.teacher) for pair in pairs] == [(f"layer{n}",) * 2 for n in (1, 2, 3)]


BLOCKS = (("block1", "block1"), ("block2", "block2"), ("block3", "block3"))
LAYERS = (("layer1", "layer1"), ("layer2", "layer2"), ("layer3", "layer3"))


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [
        # The table of RepDistiller, for images of 32 x 32; its ResNet-50 is torchvision's with a small stem.
        ("wrn_40_2", "wrn_16_2", BLOCKS),
        ("wrn_40_2", "wrn_40_1", BLOCKS),
        ("resnet56", "resnet20", LAYERS),
        ("resnet110", "resnet20", LAYERS),
        ("resnet110", "resnet32", LAYERS),
        ("resnet32x4", "resnet8x4", LAYERS),
        ("vgg13", "vgg8", (("block0", "block0"), ("block1", "block1"), ("block2", "block2"), ("block4", "block4"))),
        ("vgg13", "mobilenetv2", (("blocks.1", "block1"), ("blocks.2", "block2"), ("blocks.4", "block4"))),
        ("tv_resnet50", "mobilenetv2", (("blocks.1", "layer2"), ("blocks.2", "layer3"), ("blocks.4", "layer4"))),
        (
            "tv_resnet50",
            "vgg8",
            (("block0", "layer1"), ("block1", "layer2"), ("block2", "layer3"), ("block4", "layer4")),
        ),
        ("resnet32x4", "shufflenetv1", (("relu", "layer1"), ("layer1", "layer2"), ("layer2", "layer3"))),
        ("resnet32x4", "shufflenetv2", (("relu", "layer1"), ("layer1", "layer2"), ("layer2", "layer3"))),
        ("wrn_40_2", "shufflenetv1", (("relu", "block1"), ("layer1", "block2"), ("layer2", "block3"))),
    ],
)
def test_the_usual_pairs_match_at_their_stages(
    teacher: str, student: str, expected: tuple[tuple[str, str], ...]
) -> None:
    options = {"stem": "small"} if teacher.startswith("tv_") else {}
    pairs = match_layers(traced(student, (3, 32, 32)), traced(teacher, (3, 32, 32), **options))
    assert tuple((pair.student, pair.teacher) for pair in pairs) == expected
    assert all(pair.student_shape[1:] == pair.teacher_shape[1:] for pair in pairs)


def test_the_inside_of_a_block_that_halves_the_image_is_no_layer() -> None:
    inverted = [
        ("stem", (8, 16, 16)),
        ("features.0", (4, 16, 16)),
        ("features.1.conv.0.0", (24, 16, 16)),
        ("features.1.conv.0", (24, 16, 16)),
        ("features.1.conv", (6, 8, 8)),
        ("features.1", (6, 8, 8)),
        ("features.2.conv.0.0", (24, 8, 8)),
        ("features.2.conv.0", (24, 8, 8)),
        ("features.2.conv", (6, 4, 4)),
        ("features.2", (6, 4, 4)),
        ("features", (6, 4, 4)),
    ]
    pairs = match_layers(inverted, inverted)
    assert [pair.student for pair in pairs] == ["features.0", "features.1", "features"]


def test_shapes_are_those_of_each_network() -> None:
    pairs = match_layers(traced("resnet8"), traced("resnet8x4"))
    assert pairs[1] == LayerPair("layer2", "layer2", (32, 4, 4), (128, 4, 4))


class Block(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, stride=stride, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv(x))


def test_a_flat_network_gives_the_last_layer_before_each_change_of_size() -> None:
    flat = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 10),
    )
    pairs = match_layers(trace(flat, (3, 8, 8)), traced("resnet8"))
    assert [(pair.student, pair.teacher) for pair in pairs] == [("1", "layer1"), ("4", "layer2")]


def test_a_stage_goes_before_the_activation_that_follows_it() -> None:
    tail = nn.Sequential()
    tail.add_module("block1", Block(3, 1))
    tail.add_module("bn", nn.BatchNorm2d(8))
    tail.add_module("relu", nn.ReLU())
    tail.add_module("block2", nn.Sequential(Block(8, 2), Block(8, 1)))
    pairs = match_layers(trace(tail, (3, 8, 8)), trace(tail, (3, 8, 8)))
    assert [pair.student for pair in pairs] == ["block1", "block2"]


def test_single_positions_and_the_normalised_image_are_no_layers() -> None:
    strided = [("normalise", (3, 8, 8)), ("conv", (4, 4, 4)), ("pool", (4, 1, 1)), ("fc", (10,))]
    (pair,) = match_layers(strided, strided)
    assert pair.student == "conv"


def test_nothing_in_common_is_an_error_that_lists_both_networks() -> None:
    expected = r"student has layer1 8x8, .*teacher has layer1 9x9, layer2 5x5"
    larger = [layer for layer in traced("resnet8", (3, 9, 9)) if layer[0] != "normalise"]
    with pytest.raises(ModelError, match=expected) as caught:
        match_layers(traced("resnet8"), larger)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="no layer with a map above 1x1"):
        match_layers([("fc", (10,))], traced("resnet8"))


def test_explicit_pairs_are_taken_in_the_students_order() -> None:
    named = [("layer3", "layer2"), ("layer1.0", "layer1.2")]
    pairs = match_layers(traced("resnet8"), traced("resnet20"), named)
    assert [(pair.student, pair.teacher) for pair in pairs] == named[::-1]
    assert pairs[1].student_shape == (64, 2, 2)
    assert pairs[1].teacher_shape == (32, 4, 4)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("layer4", "layer3"), "the student has no layer 'layer4'.*did you mean 'layer"),
        (("layer3", "zzz"), "the teacher has no layer 'zzz'.*choose from"),
        (("fc", "layer3"), r"the student's layer 'fc' gives shape \(10,\)"),
    ],
)
def test_a_pair_that_cannot_be_is_refused_in_one_line(pair: tuple[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        match_layers(traced("resnet8"), traced("resnet20"), [pair])
    assert "\n" not in str(caught.value)


def test_a_students_layer_is_paired_once() -> None:
    with pytest.raises(ModelError, match="named 2 times"):
        match_layers(traced("resnet8"), traced("resnet20"), [("layer1", "layer1"), ("layer1", "layer2")])
