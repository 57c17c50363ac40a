"""Pairs of networks by name: those of docs/networks.md, sensible, and read as they are laid out."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor, nn

from benchmarks.networks import BEGIN, END, HEAD, NETWORKS, PAGE, SIDE, Network, build, pairs_of, row
from kdstudy.errors import ModelError
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
MORE = (
    "beit_base_patch16_224",
    "cait_xxs24_224",
    "coat_lite_tiny",
    "convit_tiny",
    "davit_tiny",
    "efficientformer_l1",
    "efficientvit_m0",
    "eva02_tiny_patch14_224",
    "fastvit_t8",
    "gcvit_xxtiny",
    "mambaout_femto",
    "mixer_s32_224",
    "mobilevit_xxs",
    "mvitv2_tiny",
    "nest_tiny",
    "pit_ti_224",
    "pvt_v2_b0",
    "resmlp_12_224",
    "swinv2_cr_tiny_224",
    "twins_svt_small",
    "volo_d1_224",
    "xcit_nano_12_p16_224",
)
REFUSED = {
    "hiera_tiny_224": r"what the teacher's 'blocks.0' gives \(tokens 56x56\) does not run through the image row by row",
    "tnt_s_patch16_224": "after the teacher's '.*', none of its layers gives a map or tokens of a known grid",
    "naflexvit_base_patch16_gap": "teacher has no layer with a map above 1x1",
}
WITH_TIMM = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
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
    """Compare features with what hooks get, cell by cell, and see that they lie where the image's parts do."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> None:
        module.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: seen.update({name: output}))

    for pair in pairs:
        keep(pair.teacher)
    layouts = {pair.teacher: pair.teacher_layout for pair in pairs}
    extractor = FeatureExtractor(module, [*layouts], layouts=layouts)
    images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).repeat(2, 1, 1, 1)
    images[1] += 1
    with torch.no_grad():
        features = extractor(images).features
    for pair, feature in zip(pairs, features, strict=True):
        assert feature.shape[1:] == pair.teacher_shape
        row, column = 0, pair.teacher_shape[2] - 1
        assert torch.equal(feature[:, :, row, column], _cell(seen[pair.teacher], pair, row, column))
    _see_places(extractor)


def _see_places(extractor: FeatureExtractor) -> None:
    """See that each map changes most where a small part of the image does, wherever that is."""
    eighth = SIDE // 8
    corners = [(0, 5), (3, 1), (5, 6), (6, 2)]  # none is where another would be, turned or mirrored
    images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).repeat(5, 1, 1, 1)
    for image, (down, right) in zip(images[1:], corners, strict=True):
        part = image[:, down * eighth : (down + 1) * eighth, right * eighth : (right + 1) * eighth]
        part.copy_(1 - part)
    with torch.no_grad():
        features = extractor(images).features
    for layer, feature in zip(extractor.layers, features, strict=True):
        change = (feature[1:] - feature[:1]).norm(dim=1)
        height, width = change.shape[1:]
        for changed, (down, right) in zip(change, corners, strict=True):
            place = int(changed.flatten().argmax())
            found = ((place // width + 0.5) * 8 / height, (place % width + 0.5) * 8 / width)
            assert max(abs(found[0] - down - 0.5), abs(found[1] - right - 0.5)) < 2, (layer, (down, right), found)


def _cell(output: Tensor, pair: LayerPair, row: int, column: int) -> Tensor:
    layout = pair.teacher_layout
    if layout.kind == "map":
        return output[:, :, row, column]
    if layout.kind == "channels last":
        return output[:, row, column]
    return output[:, layout.prefix + row * layout.grid[1] + column]


@pytest.mark.slow
@WITH_TIMM
@pytest.mark.parametrize("name", MORE)
def test_maps_of_further_families_lie_where_the_images_parts_do(name: str) -> None:
    module = build(Network("timm", name))
    pairs = pairs_of(module)
    layouts = {pair.teacher: pair.teacher_layout for pair in pairs}
    assert len(layouts) >= 2
    _see_places(FeatureExtractor(module, [*layouts], layouts=layouts))


@pytest.mark.slow
@WITH_TIMM
@pytest.mark.parametrize("name", REFUSED)
def test_networks_whose_tokens_are_not_known_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(ModelError, match=REFUSED[name]) as caught:
        pairs_of(build(Network("timm", name)))
    assert "\n" not in str(caught.value)


def test_the_table_names_every_family() -> None:
    page = PAGE.read_text()
    table = page[page.index(BEGIN) : page.index(END)]
    assert table.startswith(f"{BEGIN}\n{HEAD}")
    assert table.count("\n| t") == len(NETWORKS) == 20
    assert all(family in table for family in FAMILIES)
