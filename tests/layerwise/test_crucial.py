"""Matching layers of two networks by the size of their outputs."""

import itertools

import pytest
import torch
from torch import nn

from kdstudy.errors import ModelError
from kdstudy.layerwise.crucial import LayerPair, Trace, match_layers
from kdstudy.models import build_model
from kdstudy.network import trace
from kdstudy.registry import MODELS


def traced(name: str, shape: tuple[int, int, int] = (3, 8, 8)) -> Trace:
    grey = (0.5,) * shape[0]
    return trace(build_model(name, {}, num_classes=10, image_shape=shape, mean=grey, std=grey, seed=0), shape)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8)])
def test_every_pair_of_registered_models_matches_at_its_stages(shape: tuple[int, int, int]) -> None:
    traces = {name: traced(name, shape) for name in MODELS}
    for student, teacher in itertools.product(traces, traces):
        pairs = match_layers(traces[student], traces[teacher])
        assert [(pair.student, pair.teacher) for pair in pairs] == [(f"layer{n}",) * 2 for n in (1, 2, 3)]


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
    with pytest.raises(ModelError, match=expected) as caught:
        match_layers(traced("resnet8"), traced("resnet8", (3, 9, 9)))
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
