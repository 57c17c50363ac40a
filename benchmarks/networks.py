"""Which layers `layers: auto` pairs between a resnet18 and networks of timm and torchvision: writes docs/networks.md.

    python benchmarks/networks.py [NAME ...]

Without names it writes the table into the document; with names it prints their rows. Weights are random: pairs depend
on shapes alone.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from kdstudy.data import import_torchvision
from kdstudy.layerwise import LayerPair, match_layers
from kdstudy.models import trace_maps

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"
BEGIN, END = "<!-- table: made by benchmarks/networks.py -->", "<!-- /table -->"
SIDE = 224
HEAD = "| network | pairs with a resnet18: its grid ← teacher's layer, grid | laid out as |\n|---|---|---|\n"


class Network(NamedTuple):
    """A network by its name in a library, and what it is built with besides the number of classes."""

    library: str
    name: str
    options: dict[str, Any] = {}  # noqa: RUF012 - read only


NETWORKS = (
    Network("timm", "vit_tiny_patch16_224"),
    Network("torchvision", "vit_b_16"),
    Network("timm", "deit_tiny_distilled_patch16_224"),
    Network("timm", "vit_small_patch14_dinov2", {"img_size": SIDE}),
    Network("timm", "vit_small_patch14_reg4_dinov2", {"img_size": SIDE}),
    Network("timm", "vit_small_patch16_dinov3", {"img_size": SIDE}),
    Network("timm", "swin_tiny_patch4_window7_224"),
    Network("torchvision", "swin_t"),
    Network("torchvision", "swin_v2_t"),
    Network("timm", "maxvit_tiny_rw_224"),
    Network("torchvision", "maxvit_t"),
    Network("timm", "convnext_atto"),
    Network("torchvision", "convnext_tiny"),
    Network("timm", "efficientnet_b0"),
    Network("torchvision", "efficientnet_b0"),
    Network("timm", "mobilenetv3_small_100"),
    Network("torchvision", "mobilenet_v3_small"),
    Network("timm", "regnety_002"),
    Network("torchvision", "regnet_y_400mf"),
    Network("torchvision", "resnet50"),
)


def build(network: Network) -> nn.Module:
    """Return the network for ten classes, in eval mode, with random weights."""
    torchvision = import_torchvision()  # before timm, which imports it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if network.library == "timm":
            import timm

            module = timm.create_model(network.name, pretrained=False, num_classes=10, **network.options)
        else:
            module = getattr(torchvision.models, network.name)(weights=None, num_classes=10, **network.options)
    return module.eval()


def pairs_of(module: nn.Module) -> tuple[LayerPair, ...]:
    """Return the pairs of a resnet18 as student and ``module`` as teacher."""
    student = build(Network("torchvision", "resnet18"))
    shape = (3, SIDE, SIDE)
    return match_layers(trace_maps(student, shape), trace_maps(module, shape))


def row(network: Network) -> str:
    """Return the network's line of the table."""
    pairs = pairs_of(build(network))
    told = ", ".join(f"{_grid(p.student_shape)} ← `{p.teacher}` {_grid(p.teacher_shape)}" for p in pairs)
    layouts = ", ".join(dict.fromkeys(str(pair.teacher_layout) for pair in pairs))
    return f"| {network.library} `{network.name}` | {told} | {layouts} |\n"


def _grid(shape: tuple[int, int, int]) -> str:
    return f"{shape[1]}x{shape[2]}"


def main(names: list[str]) -> None:
    """Write the document's table, or print the rows of some networks."""
    if names:
        print("".join(row(network) for network in NETWORKS if network.name in names), end="")
        return
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    table = HEAD + "".join(map(row, NETWORKS))
    PAGE.write_text(f"{before}{BEGIN}\n{table}{END}{after}")


if __name__ == "__main__":
    main(sys.argv[1:])
