"""A network that takes images in [0, 1] and normalises them, around one that takes normalised images.

Shapes: B images, C channels, H and W positions.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from typing import Any, Self, final

import torch
from torch import Tensor, nn
from torch.nn import functional

NORMALISE = "normalise"
"""Name of the submodule that holds mean and standard deviation; no crucial layer."""
SIZE = "kdstudy_size"
"""Attribute of a network to whose side, in pixels, images are scaled; None, or missing, for images as they come."""


@final
class Normalise(nn.Module):
    """Scale images to one size, if one is given; subtract a mean and divide by a standard deviation, each per channel.

    The latter two are saved with the network, so exported weights are complete.

    Args:
        mean: One number per channel, in [0, 1] image units.
        std: One positive number per channel, in the same units.
        size: Height and width in pixels; None for images as they come.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], size: int | None = None) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the normalised images, (B, C, H, W)."""
        if self.size is not None and tuple(images_BCHW.shape[-2:]) != (self.size, self.size):
            side = (self.size, self.size)
            images_BCHW = functional.interpolate(images_BCHW, size=side, mode="bilinear", antialias=True)
        return (images_BCHW - self.mean) / self.std


@final
class Normalised(nn.Module):
    """A network whose parts are those of ``network``, under the same names, and ``normalise``.

    The network's own forward pass, which may go through all its children, does not meet ``normalise``: that is this
    module's alone. Parameters, buffers and children are the network's, not copies; other attributes are its own too.

    Args:
        network: From normalised images to logits; it has no part called ``normalise``, and may name its `SIZE`.
        mean: As for `Normalise`.
        std: As for `Normalise`.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        self.__dict__["_kdstudy_network"] = network  # not registered: its parts are to keep their names
        self.__dict__["_kdstudy_held"] = ()
        super().__init__()
        self._parameters, self._buffers = network._parameters, network._buffers
        self._non_persistent_buffers_set = network._non_persistent_buffers_set
        size: int | None = getattr(network, SIZE, None)
        # What is added or replaced goes to the first map, so to the network.
        parts: ChainMap[str, Any] = ChainMap(network._modules, {NORMALISE: Normalise(mean, std, size)})
        self._modules = parts  # type: ignore[assignment]
        self.train(network.training)

    def forward(self, images_BCHW: Tensor) -> Any:
        """Return what the network gives for the normalised images: logits (B, K)."""
        return self._kdstudy_network(self._modules[NORMALISE](images_BCHW))  # type: ignore[misc]

    @property
    def training(self) -> bool:
        """The network's own mode."""
        return bool(self._kdstudy_network.training)

    @training.setter
    def training(self, mode: bool) -> None:
        self._kdstudy_network.training = mode

    def train(self, mode: bool = True) -> Self:
        """Set the mode as the network would: it may keep parts of itself in eval mode."""
        self._modules[NORMALISE].train(mode)  # type: ignore[union-attr]
        self._kdstudy_network.train(mode)
        for part in self.__dict__["_kdstudy_held"]:
            part.training = False
        return self

    def hold(self, parts: Sequence[nn.Module]) -> None:
        """Keep these parts in eval mode from now on, whatever mode the network is set to."""
        own = self._kdstudy_network
        self.__dict__["_kdstudy_held"] = (own, *(part for part in parts if part is not self))
        self.train(self.training)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_kdstudy_network"], name)
