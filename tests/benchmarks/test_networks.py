"""Pairs of networks by name: those of docs/networks.md, sensible, and read as they are laid out."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor, nn

from benchmarks.networks import BEGIN, END, HEAD, NETWORKS, PAGE, SIDE, Network, build, pairs_of, row
from kdstudy.layerwise import LayerPair
from kdstudy.models import FeatureExtractor

FAST = {"vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_100", "regnety_002", "mobilenet_v3_small"}
EACH = [
    pytest.param(
        network,
        id=f"{network.library}-{network.name}",
        marks=[
            pytest.mark.skipif(
                network.library == "timm" and importlib.util.find_spec("timm") is None, reason="timm is not installed"
            ),
            *([] if network.name in FAST else [pytest.mark.slow]),
        ],
    )
    for network in NETWORKS
]
FAMILIES = ("vit", "deit", "dinov2", "reg4", "swin", "maxvit", "convnext", "efficientnet", "mobilenet", "regnet")


@pytest.mark.parametrize("network", EACH)
def test_pairs_are_sensible_and_features_are_the_layers_own(network: Network) -> None:
    module = build(network)
    pairs = pairs_of(module)
    assert row(network) in PAGE.read_text(), "write docs/networks.md anew: python benchmarks/networks.py"
    assert len(pairs) >= 4
    for role in ("student", "teacher"):
        heights = [getattr(pair, f"{role}_shape")[1] for pair in pairs]
        assert heights == sorted(heights, reverse=True)  # they shrink, or stay
    assert len({pair.teacher for pair in pairs}) == len(pairs)
    beginnings = [pair.teacher for pair in pairs if "embed" in pair.teacher or "stem" in pair.teacher]
    assert len(beginnings) <= 1 < len(pairs)
    _see_features(module, pairs)


def _see_features(module: nn.Module, pairs: tuple[LayerPair, ...]) -> None:
    """Compare features with what hooks get, cell by cell, and see that a bright quarter is bright in the map."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> None:
        module.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: seen.update({name: output}))

    for pair in pairs:
        keep(pair.teacher)
    layouts = {pair.teacher: pair.teacher_layout for pair in pairs}
    extractor = FeatureExtractor(module, [*layouts], layouts=layouts)
    images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).repeat(2, 1, 1, 1)
    images[1, :, : SIDE // 2, SIDE // 2 :] += 1  # above, at the right
    with torch.no_grad():
        features = extractor(images).features
    for pair, feature in zip(pairs, features, strict=True):
        assert feature.shape[1:] == pair.teacher_shape
        row, column = 0, pair.teacher_shape[2] - 1
        assert torch.equal(feature[:, :, row, column], _cell(seen[pair.teacher], pair, row, column))
    change = (features[0][1] - features[0][0]).abs().mean(0)
    height, width = change.shape
    quarters = [
        change[h : h + height // 2, w : w + width // 2].mean() for h in (0, height // 2) for w in (0, width // 2)
    ]
    assert max(quarters) == quarters[1]


def _cell(output: Tensor, pair: LayerPair, row: int, column: int) -> Tensor:
    layout = pair.teacher_layout
    if layout.kind == "map":
        return output[:, :, row, column]
    if layout.kind == "channels last":
        return output[:, row, column]
    return output[:, layout.prefix + row * layout.grid[1] + column]


def test_the_table_names_every_family() -> None:
    page = PAGE.read_text()
    table = page[page.index(BEGIN) : page.index(END)]
    assert table.startswith(f"{BEGIN}\n{HEAD}")
    assert table.count("\n| t") == len(NETWORKS) == 20
    assert all(family in table for family in FAMILIES)
