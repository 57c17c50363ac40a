"""Finds what each layer of a network gives: its map, and how the layer lays it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import padding

from kdstudy.models.inspection import evaluating, watching
from kdstudy.models.layouts import MAP, Layout
from kdstudy.models.normalised import NORMALISE
from kdstudy.models.places import family, out_of_place
from kdstudy.models.randomness import preserved_generators

MAX_PREFIX = 16
"""Tokens before the grid's that are believed of a network that does not say how many it has."""

_CHANNELS_SECOND = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_PADDING = (padding._ConstantPadNd, padding._ReflectionPadNd, padding._ReplicationPadNd, padding._CircularPadNd)


class Traced(NamedTuple):
    """The output of one layer.

    Attributes:
        name: Dotted name of the module.
        shape: (C, H, W) of its map; where it is none, its shape without the batch.
        layout: How the map is laid out; None where the output is no map.
    """

    name: str
    shape: tuple[int, ...]
    layout: Layout | None = MAP


def trace_maps(module: nn.Module, image_shape: tuple[int, int, int]) -> list[Traced]:
    """Return every named submodule that gives a tensor, in order of first completion, with the map it stands for.

    An output of four dimensions is a map, its channels second where a convolution, a batch norm or a pooling gives or
    takes it and last where a linear layer or a layer norm does; else they are where the other two have the proportions
    of the image. If that leaves a choice, they are where a module of the same name but for its numbers, and of the same
    shape, has them, else second. Where channels come last, or nothing tells, the other two must have the proportions of
    the image, or be the grid of another map.

    One of three dimensions, (B, N, C), holds tokens if N is the number of cells of a grid and of the tokens before it.
    The grid is that of a map which ran before (the patch embedding's convolution), or that of earlier tokens divided by
    a whole number. The number before it is the network's ``num_prefix_tokens``; where a network does not say, it is
    what the largest grid leaves, up to `MAX_PREFIX`.

    What does not have one row per image is no map, nor are the weights of attention between tokens, nor what padding
    makes of a map. Whether tokens run through the grid row by row, and such maps whose channels come last, is found by
    changing parts of an image (`kdstudy.models.places.out_of_place`).

    Args:
        module: The network. One zero image goes through it in eval mode, then, unless it gives
            maps alone, five others; its modes, buffers and generators stay.
        image_shape: (C, H, W) of one image.
    """
    watch = _Watch(module, image_shape)
    layers = {name: child for name, child in module.named_modules() if name}
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with watching(layers, watch.see), preserved_generators(), evaluating(module), torch.no_grad():
        module(torch.zeros(1, *image_shape, device=device))
    found = watch.told()
    given = {name: (shape, layout) for name, shape, layout in found if layout is not None}
    wrong = out_of_place(module, given, watch.entered, image_shape)
    return [
        each._replace(layout=replace(each.layout, in_order=False)) if each.layout and each.name in wrong else each
        for each in found
    ]


class _Watch:
    """Keeps what the layers of one pass gave; tells their layouts after it, when it is known what took each output."""

    def __init__(self, module: nn.Module, image_shape: tuple[int, int, int]) -> None:
        self.entered: dict[str, tuple[int, ...]] = {}  # by layer: the shape of the tensor that it took
        self._modules = dict(module.named_modules())
        self._image: Sequence[int] = image_shape[1:]
        prefix = getattr(module, "num_prefix_tokens", None)
        self._prefix = prefix if isinstance(prefix, int) else None
        self._outputs: dict[str, Tensor] = {}
        self._channels: dict[int, int] = {}  # by identity of a tensor of four dimensions: where its channels are
        self._alike: dict[tuple[str, torch.Size], int] = {}
        self._unclear: dict[int, int] = {}
        self._kept: list[Tensor] = []  # so that no identity is given twice
        self._grids: dict[tuple[int, int], None] = {}  # the latest last
        self._counts: set[int] = set()

    def see(self, name: str, inputs: tuple[Any, ...], output: Any) -> None:
        """Note one run of a layer."""
        module = self._modules[name]
        # Classes derived from LayerNorm may normalise over channels that come second, so they tell nothing.
        second, last = (
            isinstance(module, _CHANNELS_SECOND),
            isinstance(module, nn.Linear) or type(module) is nn.LayerNorm,
        )
        for tensor in (each for each in (*inputs, output) if isinstance(each, Tensor)):
            self._kept.append(tensor)
            if tensor.ndim == 4 and (second or last):
                self._channels[id(tensor)] = min(self._channels.get(id(tensor), 3), 1 if second else 3)
        if isinstance(output, Tensor) and name not in self._outputs:
            self._outputs[name] = output
            if inputs and isinstance(inputs[0], Tensor):
                self.entered[name] = tuple(inputs[0].shape[1:])
            if name == NORMALISE:  # it may scale the images
                self._image = output.shape[-2:]

    def told(self) -> list[Traced]:
        """Return the layers in order of completion."""
        found = []
        for name, output in self._outputs.items():
            if id(output) in self._channels:
                self._alike[family(name), output.shape] = self._channels[id(output)]
        for name, output in self._outputs.items():
            if id(output) not in self._channels and (family(name), output.shape) in self._alike:
                self._unclear[id(output)] = self._alike[family(name), output.shape]
        for name, output in self._outputs.items():
            given = tuple(output.shape[1:])
            padded = isinstance(self._modules[name], _PADDING)
            layout = self._layout(output) if len(output) == 1 and not padded else None
            found.append(Traced(name, given if layout is None else layout.shape(given), layout))
        return found

    def _layout(self, output: Tensor) -> Layout | None:
        rules: dict[int, Callable[[Tensor], Layout | None]] = {3: self._tokens, 4: self._map}
        return rules[output.ndim](output) if output.ndim in rules else None

    def _map(self, output: Tensor) -> Layout | None:
        _, first, height, width = output.shape
        seen = self._channels.get(id(output))
        second, last = self._fits(height, width), self._fits(first, height)
        if seen is None:
            if height in self._counts and not last:  # (B, heads, N, N) or (B, heads, N, D), inside attention
                return None
            seen = self._unclear.get(id(output), 1) if second and last else 3 if last else 1
            if not (second or last or (height, width) in self._grids):
                return None
        elif seen == 3 and (first == height in self._counts or not (last or (first, height) in self._grids)):
            return None  # weights of attention (B, N, N, heads), or tokens in blocks (B, blocks, N, C)
        self._note_grid((height, width) if seen == 1 else (first, height))
        return MAP if seen == 1 else Layout("channels last")

    def _note_grid(self, grid: tuple[int, int]) -> None:
        self._grids.pop(grid, None)
        self._grids[grid] = None

    def _fits(self, height: int, width: int) -> bool:
        """Say whether a grid has the proportions of the image, but for the rounding of one cell."""
        return abs(height * self._image[1] - width * self._image[0]) < max(self._image)

    def _tokens(self, output: Tensor) -> Layout | None:
        count = output.shape[1]
        prefixes = range(MAX_PREFIX + 1) if self._prefix is None else dict.fromkeys((0, self._prefix))
        for prefix in prefixes:
            for grid in (*reversed(self._grids), *self._divided(count - prefix)):
                if 1 < grid[0] * grid[1] == count - prefix:
                    self._counts.add(count)
                    self._note_grid(grid)
                    return Layout("tokens", grid, prefix)
        return None

    def _divided(self, cells: int) -> list[tuple[int, int]]:
        """Return the last grid with both its sides divided by one number, rounded up, if it then has so many cells."""
        if not self._counts:
            return []
        height, width = next(reversed(self._grids))
        smaller = ((-(-height // step), -(-width // step)) for step in range(2, min(height, width) + 1))
        return [grid for grid in smaller if grid[0] * grid[1] == cells]
