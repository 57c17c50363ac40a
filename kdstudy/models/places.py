"""Whether what a layer gives lies in its map where the parts of the image lie: seen by changing parts of an image.

A network may sort its tokens (Hiera, by windows) or hold them in blocks (NesT) and still give as many as a grid has
cells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdstudy.models.inspection import evaluating, watching
from kdstudy.models.layouts import Layout
from kdstudy.models.randomness import preserved_generators

PARTS = ((0, 5), (3, 1), (5, 6), (6, 2))
"""(row, column) of the parts that are changed, in eighths; none is where another would be, turned or mirrored."""
LEAST = 0.4
"""Correlation of where tokens change with where the image did: docs/networks.md says what it was in which networks."""
PEAK = 3.0
"""How strong a change must be, at its strongest, of its mean, to tell of places: 1.6 where attention has spread it over
the image (LeViT's deep stages), 8 and more elsewhere."""


Shape = tuple[int, ...]
Given = tuple[Shape, Layout]


class _Entry(NamedTuple):
    """Where it is seen whether something is in order.

    Attributes:
        layer: The layer that is watched.
        inside: Whether what enters it is looked at; else what it gives.
        layout: Of what is looked at.
    """

    layer: str
    inside: bool
    layout: Layout


def family(name: str) -> str:
    """Return the name of a layer but for its numbers: alike for all blocks of one kind."""
    return re.sub(r"\d+", "#", name)


def out_of_place(
    module: nn.Module, given: Mapping[str, Given], entered: Mapping[str, Shape], image_shape: tuple[int, int, int]
) -> set[str]:
    """Return the layers that give tokens, or maps whose channels come last, in another order than row by row.

    A layer is judged by what enters the stack of blocks it is part of, where no attention has mixed it yet: what enters
    the first of the outermost modules around it that are called alike and give as many positions as they take. Where
    there is none, by what it gives. One image of noise and others with a part inverted go through the network.

    Args:
        module: The network.
        given: By layer, in order of completion, the (C, H, W) of its map and how that is laid out.
        entered: By layer, the shape of the tensor that entered it, without the batch.
        image_shape: (C, H, W) of one image.
    """
    looked_at = {name: each for name, each in given.items() if each[1].kind in ("tokens", "channels last")}
    entries = {name: _entry(name, looked_at, entered) for name in looked_at}
    if not entries:
        return set()
    images, masks = _images(image_shape)
    fit: dict[_Entry, float] = {}
    layers = {entry.layer: module.get_submodule(entry.layer) for entry in entries.values()}
    watched = {layer: {entry for entry in entries.values() if entry.layer == layer} for layer in layers}

    def see(name: str, inputs: tuple[Any, ...], output: Any) -> None:
        for entry in watched[name] - fit.keys():
            seen = inputs[0] if entry.inside else output
            if len(seen) == len(images):
                fit[entry] = _agreement(entry.layout.fold(seen), masks)

    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with watching(layers, see), preserved_generators(), evaluating(module), torch.no_grad():
        module(images.to(device))
    return {name for name, entry in entries.items() if fit.get(entry, 1.0) < LEAST}


def _entry(name: str, given: Mapping[str, Given], entered: Mapping[str, Shape]) -> _Entry:
    (_, *grid), layout = given[name]
    positions = (layout.prefix + grid[0] * grid[1],) if layout.kind == "tokens" else tuple(grid)
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        kind = family(".".join(parts[:end]))
        alike = (other for other in given if family(other) == kind and given[other][1] == layout)
        first = next((other for other in alike if entered.get(other, ())[:-1] == positions), None)
        if first is not None and list(given[first][0][1:]) == grid:
            return _Entry(first, inside=True, layout=layout)
    return _Entry(name, inside=False, layout=layout)


def _images(image_shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Return images (1 + P, C, H, W), the first unchanged, and where each other differs, (P, H, W)."""
    _, height, width = image_shape
    noise = torch.rand(image_shape, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(len(PARTS), height, width)
    for mask, (row, column) in zip(masks, PARTS, strict=True):
        mask[_eighth(row, height), _eighth(column, width)] = 1
    changed = torch.where(masks[:, None] > 0, 1 - noise, noise)
    return torch.cat([noise[None], changed]), masks


def _eighth(place: int, side: int) -> slice:
    return slice(place * side // 8, max((place + 1) * side // 8, place * side // 8 + 1))


def _agreement(maps_BCHW: Tensor, masks_PHW: Tensor) -> float:
    """Return the correlation, in [-1, 1], of where maps change with where images do; 1 where changes have no place."""
    change = (maps_BCHW[1:] - maps_BCHW[:1]).float().norm(dim=1).flatten(1).cpu()
    if not (change.amax(1) > PEAK * change.mean(1)).all():
        return 1.0
    there = functional.interpolate(masks_PHW[:, None], size=maps_BCHW.shape[2:], mode="area").flatten(1)
    one, other = (_centred(functional.normalize(each, dim=1)) for each in (change, there))
    return float((one * other).sum() / (one.norm() * other.norm()))


def _centred(table: Tensor) -> Tensor:
    """Return a table less the means of its rows and of its columns."""
    return table - table.mean(0) - table.mean(1, keepdim=True) + table.mean()
