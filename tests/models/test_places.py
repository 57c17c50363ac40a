"""Tokens that do not run through the grid row by row are found, by changing parts of an image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kdstudy.models import Layout, trace_maps
from kdstudy.models.places import out_of_place
from tests.transformers import Hierarchy, ViT

SHAPE = (3, 32, 32)
ROWS = torch.arange(64).view(8, 8)
WINDOWS = ROWS.view(2, 4, 2, 4).transpose(1, 2).flatten()
ORDERS = {
    "windows of 4 x 4, one after another": WINDOWS,
    "Hiera's: one of each window first": ROWS.view(4, 2, 4, 2).permute(1, 3, 0, 2).flatten(),
    "column by column": ROWS.T.flatten(),
    "from the last row to the first": ROWS.flip(0).flatten(),
    "from right to left": ROWS.flip(1).flatten(),
}


class Sorted(ViT):
    """A ViT that sorts its tokens before the first block; their number tells nothing of it."""

    def __init__(self, order: Tensor, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.order = order

    def forward(self, images: Tensor) -> Tensor:
        x = (self.patch_embed(images).flatten(2).transpose(1, 2) + self.places)[:, self.order]
        x = torch.cat([self.prefix.expand(x.shape[0], -1, -1), x], dim=1)
        return self.head(self.norm(self.blocks(x))[:, 0])


def in_order(module: nn.Module, shape: tuple[int, int, int] = SHAPE) -> dict[str, bool]:
    found = trace_maps(module, shape)
    return {name: layout.in_order for name, _, layout in found if layout is not None and layout.kind == "tokens"}


@pytest.mark.parametrize("order", ORDERS)
def test_tokens_in_another_order_are_seen_in_every_layer(order: str) -> None:
    found = in_order(Sorted(ORDERS[order], depth=2))
    assert {"blocks.0", "blocks.1", "blocks.1.mlp", "norm"} <= found.keys()
    assert not any(found.values())


@pytest.mark.parametrize("options", [{}, {"registers": 4}, {"plain": True}, {"size": (32, 48)}])
def test_tokens_in_order_are_so_in_every_layer(options: dict[str, object]) -> None:
    found = in_order(ViT(depth=3, **options), (3, *options.get("size", (32, 32))))  # type: ignore[arg-type,misc]
    assert "blocks.2" in found and all(found.values())


def test_attention_to_the_whole_image_in_deep_blocks_is_no_disorder() -> None:
    """The tokens of a trained network may tell little of their place; those that enter its blocks tell it."""
    module = ViT(depth=6)
    with torch.no_grad():
        for block in module.blocks:
            block.attn.proj.weight *= 300
    assert all(in_order(module).values())


def test_tokens_of_a_network_that_sees_nothing_are_believed() -> None:
    module = ViT(depth=2)
    nn.init.zeros_(module.patch_embed.proj.weight)
    assert all(in_order(module).values())


def test_where_no_module_tells_what_enters_a_layers_own_tokens_are_looked_at() -> None:
    class Mixed(nn.Module):
        def __init__(self, order: Tensor) -> None:
            super().__init__()
            self.conv, self.order = nn.Conv2d(3, 8, 4, stride=4), order
            self.norm = nn.LayerNorm(8)

        def forward(self, images: Tensor) -> Tensor:
            return self.norm(self.conv(images).flatten(2).transpose(1, 2)[:, self.order]).mean(1)

    given = {"norm": ((8, 8, 8), Layout("tokens", (8, 8)))}
    assert out_of_place(Mixed(WINDOWS), given, {}, SHAPE) == {"norm"}
    assert out_of_place(Mixed(ROWS.flatten()), given, {}, SHAPE) == set()


def test_tokens_in_as_many_blocks_as_each_has_tokens_look_like_a_map_and_are_none() -> None:
    class Blocks(nn.Module):
        """NesT's (B, blocks, N, C), here 16 of 16."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.inside, self.out = nn.Conv2d(3, 4, 2, stride=2), nn.Linear(4, 4), nn.Conv2d(4, 4, 1)

        def forward(self, images: Tensor) -> Tensor:
            blocks = self.conv(images).unflatten(2, (4, 4)).unflatten(4, (4, 4)).permute(0, 2, 4, 3, 5, 1)
            blocks = self.inside(blocks.reshape(-1, 16, 16, 4)).view(-1, 4, 4, 4, 4, 4)
            return self.out(blocks.permute(0, 5, 1, 3, 2, 4).reshape(-1, 4, 16, 16)).mean((2, 3))

    layers = {layer.name: layer for layer in trace_maps(Blocks(), SHAPE)}
    assert layers["inside"].layout == Layout("channels last", in_order=False)
    assert layers["out"].layout == Layout()


def test_maps_with_channels_last_are_in_order() -> None:
    layouts = [layer.layout for layer in trace_maps(Hierarchy(), SHAPE)]
    assert Layout("channels last") in layouts and Layout("channels last", in_order=False) not in layouts


def test_the_look_leaves_modes_buffers_and_generators_alone() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3), ViT(depth=1)).train()
    before, state = {name: value.clone() for name, value in module.state_dict().items()}, torch.get_rng_state()
    trace_maps(module, SHAPE)
    assert all(child.training for child in module.modules())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
