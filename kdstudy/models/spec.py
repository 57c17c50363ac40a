"""`NetworkSpec`: what rebuilds a network around its weights, in memory and as ``student.json`` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, final

from annotated_types import Ge, Gt, Le, MinLen
from torch import nn

from kdstudy.errors import ModelError
from kdstudy.models.factory import build_model
from kdstudy.models.pretrained import NONE, pretrained_of
from kdstudy.study import check

MAX_PIXELS = 2**26
"""Numbers in one image: a stranger's file must not make us fill the memory."""

_Side = Annotated[int, Ge(1), Le(2**15)]
_KINDS: dict[str, Any] = {
    "model": Annotated[str, MinLen(1)],
    "options": dict[str, Any],
    "num_classes": Annotated[int, Ge(1), Le(1_000_000)],
    "image_shape": tuple[_Side, _Side, _Side],
    "mean": Annotated[tuple[float, ...], MinLen(1)],
    "std": Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)],
}


@final
@dataclass(frozen=True)
class NetworkSpec:
    """A network but for its weights.

    Args:
        model: Plug-in name.
        options: Of the model.
        num_classes: Number of logits.
        image_shape: (C, H, W) of one image.
        mean: Of the images in [0, 1], one number per channel.
        std: Positive, one number per channel.
    """

    model: str
    options: Mapping[str, Any]
    num_classes: int
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def build(self, seed: int) -> nn.Module:
        """Return the network, its weights a function of ``seed`` alone: see `build_model`, also for what it raises."""
        return build_model(
            self.model,
            self.options,
            num_classes=self.num_classes,
            image_shape=self.image_shape,
            mean=self.mean,
            std=self.std,
            seed=seed,
        )

    def saved(self, module: nn.Module) -> NetworkSpec:
        """Return what rebuilds ``module``, built from this, around its own weights: without those that it began with.

        Its option ``weights``, if it has one, becomes ``none``, and the normalisation is that of the weights.
        """
        known = pretrained_of(module)
        if known is None:
            return self
        options = {**self.options, "weights": NONE} if "weights" in self.options else self.options
        return replace(self, options=options, mean=known.mean or self.mean, std=known.std or self.std)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, in the order of ``student.json``."""
        return {
            "model": self.model,
            "options": dict(self.options),
            "num_classes": self.num_classes,
            "image_shape": list(self.image_shape),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> NetworkSpec:
        """Return the network that ``values`` describe; further keys are ignored. Imports no plug-in.

        Args:
            values: As `to_json` gives them, possibly written by a stranger.
            where: For the message, e.g. the file's path.

        Raises:
            ModelError: A key is missing, or its value is none that a network could have.
        """
        missing = [key for key in _KINDS if key not in values]
        if missing:
            raise ModelError(f"{where}: lacks {', '.join(missing)}; save the student again")
        for key, kind in _KINDS.items():
            if messages := check(kind, values[key])[1]:
                raise ModelError(f"{where}: does not describe a network: {key} {messages[0]}; save the student again")
        channels, height, width = values["image_shape"]
        if channels * height * width > MAX_PIXELS:
            raise ModelError(
                f"{where}: images of {channels}x{height}x{width} are larger than any that kdstudy trains on"
            )
        return cls(
            model=values["model"],
            options=values["options"],
            num_classes=values["num_classes"],
            image_shape=(channels, height, width),
            mean=tuple(float(value) for value in values["mean"]),
            std=tuple(float(value) for value in values["std"]),
        )
