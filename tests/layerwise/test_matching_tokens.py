"""Pairs of networks that give tokens, or maps whose channels come last."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from kdstudy.errors import ModelError
from kdstudy.layerwise.matching import LayerPair, match_layers
from kdstudy.models import Layout, Traced, build_model, trace, trace_maps
from tests.models.test_places import WINDOWS, Sorted
from tests.transformers import Block, Hierarchy, ViT

SHAPE = (3, 32, 32)


def traced(module: nn.Module | str) -> list[Traced]:
    if isinstance(module, str):
        grey = (0.5,) * 3
        module = build_model(module, {}, num_classes=10, image_shape=SHAPE, mean=grey, std=grey, seed=0)
    return trace_maps(module, SHAPE)


def names(pairs: tuple[LayerPair, ...]) -> list[tuple[str, str]]:
    return [(pair.student, pair.teacher) for pair in pairs]


def test_stages_of_a_cnn_are_paired_with_blocks_at_the_same_relative_depth() -> None:
    pairs = match_layers(traced("resnet8"), traced(ViT(depth=12)))
    assert names(pairs) == [("layer1", "blocks.3"), ("layer2", "blocks.7"), ("layer3", "blocks.11")]
    assert pairs[0].teacher_shape == (24, 8, 8)
    assert pairs[0].teacher_layout == Layout("tokens", (8, 8), 1)
    assert [pair.grid for pair in pairs] == [(8, 8), (8, 8), (8, 8)]


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [(2, [0, 1]), (3, [0, 1, 2]), (7, [2, 4, 6]), (24, [7, 15, 23])],
)
def test_blocks_are_spread_over_the_depth_and_the_last_is_one(depth: int, blocks: list[int]) -> None:
    pairs = match_layers(traced("resnet8"), traced(ViT(depth=depth)))
    assert [pair.teacher for pair in pairs] == [f"blocks.{block}" for block in blocks]
    assert pairs[-1].student == "layer3"


def test_the_student_may_be_the_one_with_tokens() -> None:
    pairs = match_layers(traced(ViT(depth=6)), traced("resnet20"))
    assert names(pairs) == [("blocks.1", "layer1"), ("blocks.3", "layer2"), ("blocks.5", "layer3")]


def test_two_networks_of_one_grid_are_paired_at_quarters_of_their_depths() -> None:
    pairs = match_layers(traced(ViT(depth=8)), traced(ViT(depth=12, registers=4)))
    assert names(pairs) == [(f"blocks.{2 * j - 1}", f"blocks.{3 * j - 1}") for j in (1, 2, 3, 4)]


def test_the_patch_embedding_is_never_a_pair_though_its_grid_is_a_students() -> None:
    student, teacher = traced("resnet8"), traced(ViT(depth=12))
    assert ("patch_embed.proj", (24, 8, 8)) in [layer[:2] for layer in teacher]
    assert (64, 8, 8) in [layer.shape for layer in student]
    assert not [pair for pair in match_layers(student, teacher) if "patch" in pair.teacher]


def test_weights_of_attention_are_no_pair_of_two_transformers() -> None:
    pairs = match_layers(traced(ViT(depth=4, plain=True)), traced(ViT(depth=4, plain=True)))
    assert names(pairs) == [(f"blocks.{j}",) * 2 for j in range(4)]


def test_maps_with_channels_last_match_by_their_grid() -> None:
    pairs = match_layers(traced("resnet8"), traced(Hierarchy()))
    assert names(pairs) == [("layer2", "stages.0"), ("layer3", "stages.1")]
    assert [pair.teacher_shape for pair in pairs] == [(16, 16, 16), (32, 8, 8)]
    assert {pair.teacher_layout for pair in pairs} == {Layout("channels last")}
    assert [pair.student for pair in match_layers(traced(Hierarchy()), traced(Hierarchy()))] == [
        "stages.0",
        "stages.1",
        "stages",
    ]


def test_a_layer_with_tokens_may_be_named() -> None:
    (pair,) = match_layers(traced("resnet8"), traced(ViT(depth=12)), [("layer2", "blocks.0.mlp")])
    assert pair.teacher_layout == Layout("tokens", (8, 8), 1)
    with pytest.raises(ModelError, match=r"the teacher's layer 'blocks.0.attn.drop' gives shape \(2, 65, 65\), not"):
        match_layers(traced("resnet8"), traced(ViT(depth=2, plain=True)), [("layer2", "blocks.0.attn.drop")])


def test_a_network_of_tokens_and_one_without_maps_have_nothing_in_common() -> None:
    with pytest.raises(ModelError, match="student has no layer with a map above 1x1, teacher has "):
        match_layers([("fc", (10,))], traced(ViT(depth=3)))


def test_networks_that_scale_images_differently_are_paired_by_depth_not_by_size() -> None:
    student = traced("resnet8")
    teacher = trace_maps(
        build_model(
            "tv_resnet18", {}, num_classes=10, image_shape=(3, 64, 64), mean=(0.5,) * 3, std=(0.5,) * 3, seed=0
        ),
        (3, 64, 64),
    )
    assert teacher[0].shape == (3, 64, 64)
    pairs = match_layers(student, teacher)  # by size, layer1 would be paired with the teacher's stem
    assert names(pairs) == [("layer1", "layer2"), ("layer2", "layer3"), ("layer3", "layer4")]
    assert [pair.grid for pair in pairs] == [(8, 8), (4, 4), (2, 2)]
    assert names(match_layers(student, teacher[1:]))[0] == ("layer1", "relu")


@pytest.mark.parametrize("name", ["resnet20", "vgg8", "mobilenetv2", "shufflenetv2", "tv_densenet121"])
def test_pairs_of_convolutional_networks_are_as_they_were(name: str) -> None:
    grey = (0.5,) * 3
    module = build_model(name, {}, num_classes=10, image_shape=SHAPE, mean=grey, std=grey, seed=0)
    plain = trace(module, SHAPE)
    assert match_layers(trace_maps(module, SHAPE), trace_maps(module, SHAPE)) == match_layers(plain, plain)


def test_tokens_that_are_not_in_order_are_refused_whether_found_or_named() -> None:
    student, teacher = traced("resnet8"), traced(Sorted(WINDOWS, depth=6))
    told = r"layers: what the teacher's 'blocks.\d' gives \(tokens 1 \+ 8x8\) does not run .* row by row, .* name pairs"
    for pairs in ("auto", [("layer2", "blocks.3")]):
        with pytest.raises(ModelError, match=told):
            match_layers(student, teacher, pairs)
    with pytest.raises(ModelError, match="what the student's 'blocks"):
        match_layers(teacher, student)
    assert names(match_layers(student, teacher, [("layer3", "patch_embed.proj")])) == [("layer3", "patch_embed.proj")]


class Sideways(ViT):
    """A ViT whose tokens are (N, B, C), as torch.nn.MultiheadAttention had them first."""

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patch_embed(images).flatten(2).permute(2, 0, 1)
        return self.head(self.blocks(tokens).mean(0))


@pytest.mark.parametrize("teacher", [ViT(depth=4, registers=20), Sideways(depth=4)], ids=["registers", "sideways"])
def test_a_transformer_whose_tokens_are_not_known_is_not_paired_by_its_patch_embedding(teacher: nn.Module) -> None:
    student = traced("resnet8")
    assert (64, 8, 8) in [layer.shape for layer in student] and (24, 8, 8) in [layer.shape for layer in traced(teacher)]
    with pytest.raises(
        ModelError, match=r"after the teacher's 'patch_embed', none of its layers gives a map .*or choose"
    ):
        match_layers(student, traced(teacher))
    with pytest.raises(ModelError, match="after the student's 'patch_embed'"):
        match_layers(traced(teacher), student)
    assert names(match_layers(student, traced(teacher), [("layer3", "patch_embed.proj")]))  # named, it is taken


def test_a_transformer_on_top_of_convolutions_leaves_their_maps() -> None:
    class Hybrid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stages = nn.Sequential(
                *(nn.Sequential(nn.Conv2d(c, 16, 3, stride=2, padding=1), nn.ReLU()) for c in (3, 16, 16))
            )
            self.block, self.head = Block(16), nn.Linear(16, 10)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.stages(images).flatten(2).transpose(1, 2).repeat(1, 2, 1)[:, :100]
            return self.head(self.block(tokens).mean(1))

    pairs = match_layers(traced("resnet8"), traced(Hybrid()))
    assert [pair.teacher for pair in pairs] == ["stages.0", "stages.1"]
