"""How layers lay out their outputs, found by tracing, and the maps made of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from kdstudy.models import MAP, FeatureExtractor, Layout, Traced, trace, trace_maps
from tests.transformers import Hierarchy, ViT


def traced(module: nn.Module, shape: tuple[int, int, int] = (3, 32, 32)) -> dict[str, Traced]:
    return {layer.name: layer for layer in trace_maps(module, shape)}


@pytest.mark.parametrize("says", [False, True])
@pytest.mark.parametrize("registers", [0, 1, 4])
def test_tokens_are_a_grid_after_class_and_register_tokens(registers: int, says: bool) -> None:
    layers = traced(ViT(registers=registers, depth=2, says=says))
    assert layers["blocks.1"] == ("blocks.1", (24, 8, 8), Layout("tokens", (8, 8), 1 + registers))
    assert layers["patch_embed.proj"] == ("patch_embed.proj", (24, 8, 8), MAP)
    assert layers["head"].layout is None  # one vector


def test_a_grid_need_not_be_square() -> None:
    layers = traced(ViT(size=(32, 48), depth=2), (3, 32, 48))
    assert layers["blocks.0"].layout == Layout("tokens", (8, 12), 1)


def test_weights_of_attention_are_no_map() -> None:
    layers = traced(ViT(depth=2, plain=True))
    assert layers["blocks.0.attn.drop"] == ("blocks.0.attn.drop", (2, 65, 65), None)


def test_a_number_of_tokens_that_no_grid_has_is_none() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.embed = nn.Conv2d(3, 4, 8, stride=8), nn.Linear(4, 4)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.conv(images).flatten(2).transpose(1, 2).repeat(1, 3, 1)
            return self.embed(tokens).mean(1)

    assert traced(Words())["embed"] == ("embed", (48, 4), None)  # 3 x 16: more than 16 cells and 16 others


def test_tokens_of_a_stage_that_halves_the_grid_are_its_own_grid() -> None:
    class Pyramid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.first, self.second = nn.Conv2d(3, 4, 4, stride=4), nn.Linear(4, 4), nn.Linear(4, 8)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.first(self.patch(images).flatten(2).transpose(1, 2))
            grid = tokens.unflatten(1, (7, 7))[:, ::2, ::2]
            return self.second(grid.flatten(1, 2)).mean(1)

    layers = traced(Pyramid(), (3, 28, 28))
    assert layers["first"].layout == Layout("tokens", (7, 7))
    assert layers["second"].layout == Layout("tokens", (4, 4))


def test_channels_that_come_last_are_seen_by_proportions_or_by_what_takes_them() -> None:
    layers = traced(Hierarchy())
    assert layers["stages.0"] == ("stages.0", (16, 16, 16), Layout("channels last"))  # 16 x 16 x 16: a Linear takes it
    assert layers["stages.1"] == ("stages.1", (32, 8, 8), Layout("channels last"))
    assert layers["embed"].layout == MAP


def test_a_convolution_says_where_channels_are_though_proportions_say_otherwise() -> None:
    tall = nn.Sequential(nn.Conv2d(3, 8, (2, 4), stride=(2, 4)), nn.ReLU(), nn.Conv2d(8, 4, 1))
    layers = traced(tall, (3, 16, 16))
    assert [layers[name].shape for name in ("0", "1", "2")] == [(8, 8, 4), (8, 8, 4), (4, 8, 4)]
    assert all(layer.layout == MAP for layer in layers.values())


def test_what_has_not_one_row_per_image_is_no_map() -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.inside = nn.Conv2d(3, 4, 4, stride=4), nn.Linear(4, 4)

        def forward(self, images: Tensor) -> Tensor:
            windows = self.conv(images).unflatten(2, (2, 4)).unflatten(4, (2, 4)).permute(0, 2, 4, 3, 5, 1)
            return self.inside(windows.reshape(-1, 16, 4)).mean(1)

    assert traced(Windows())["inside"] == ("inside", (16, 4), None)


def test_weights_of_attention_are_no_map_though_a_linear_layer_mixes_their_heads() -> None:
    class Talking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.mix, self.norm = nn.Conv2d(3, 4, 4, stride=4), nn.Linear(2, 2), nn.LayerNorm(4)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.norm(self.conv(images).flatten(2).transpose(1, 2))
            weights = self.mix((tokens @ tokens.transpose(1, 2)).unsqueeze(-1).expand(-1, -1, -1, 2))
            return (weights.mean(-1) @ tokens).mean(1)

    assert traced(Talking())["mix"] == ("mix", (64, 64, 2), None)


def test_tokens_in_blocks_are_no_map() -> None:
    class Blocks(nn.Module):
        """NesT's: (B, blocks, N, C)."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 2, stride=2)
            self.encoder = nn.Sequential(nn.Sequential(nn.Linear(6, 6), nn.ReLU()), nn.ReLU())

        def forward(self, images: Tensor) -> Tensor:
            blocks = self.conv(images).unflatten(2, (2, 8)).unflatten(4, (2, 8)).permute(0, 2, 4, 3, 5, 1)
            return self.encoder(blocks.reshape(-1, 4, 64, 6)).mean((1, 2))

    layers = traced(Blocks())
    assert [layers[name].layout for name in ("encoder.0.0", "encoder.0", "encoder")] == [None, None, None]


def test_what_padding_makes_of_a_map_is_none() -> None:
    layers = traced(nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3), nn.ReflectionPad2d(2), nn.Conv2d(4, 4, 5)))
    assert [layers[name].layout for name in "0123"] == [None, MAP, None, MAP]


def test_names_and_plain_shapes_are_those_of_trace() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 900, 5))
    assert [layer[:2] for layer in trace_maps(network, (3, 32, 32))] == trace(network, (3, 32, 32))


@pytest.mark.parametrize(
    ("layout", "given"),
    [
        (MAP, lambda map_BCHW: map_BCHW),
        (Layout("channels last"), lambda map_BCHW: map_BCHW.permute(0, 2, 3, 1)),
        (Layout("tokens", (3, 4)), lambda map_BCHW: map_BCHW.flatten(2).transpose(1, 2)),
        (
            Layout("tokens", (3, 4), 2),
            lambda map_BCHW: torch.cat([torch.full((2, 2, 5), 9.0), map_BCHW.flatten(2).transpose(1, 2)], dim=1),
        ),
    ],
)
def test_folding_undoes_the_layout(layout: Layout, given: object) -> None:
    whole = torch.arange(120.0).view(2, 5, 3, 4)
    output = given(whole)  # type: ignore[operator]
    assert torch.equal(layout.fold(output), whole)
    assert layout.shape(tuple(output.shape[1:])) == (5, 3, 4)


def test_features_are_what_a_hook_sees_folded() -> None:
    module, images = ViT(registers=1, depth=2).eval(), torch.rand(3, 3, 32, 32)
    extractor = FeatureExtractor(module, ["blocks.0"], layouts={"blocks.0": traced(module)["blocks.0"].layout or MAP})
    seen: list[Tensor] = []
    module.blocks[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    (feature,) = extractor(images).features
    for row, column in ((0, 0), (3, 5), (7, 7)):
        assert torch.equal(feature[:, :, row, column], seen[0][:, 2 + 8 * row + column])


def test_a_cell_of_the_map_is_where_its_pixels_are() -> None:
    module = ViT(registers=1, depth=1).eval()
    layout = traced(module)["blocks.0"].layout
    assert layout is not None
    extractor = FeatureExtractor(module, ["blocks.0"], layouts={"blocks.0": layout})
    images = torch.zeros(2, 3, 32, 32)
    images[1, :, 8:12, 20:24] = 1  # row 2, column 5 of patches of 4 x 4
    with torch.no_grad():
        before, after = extractor(images).features[0]
    assert (after - before).abs().sum(0).flatten().argmax() == 8 * 2 + 5
    assert_close(before.shape, torch.Size([24, 8, 8]))
