"""Applies the augmentations that a study file lists to images of an epoch, each image with random numbers of its own.

The augmentations draw from the global generators, which are seeded for each image and put back afterwards.

Shapes: B images, C channels, H and W positions as they are kept, S of what networks look at.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdstudy.data.transforms import Change
from kdstudy.errors import DataError
from kdstudy.plugins import AUGMENTATIONS, allow_plugins, allowed_words
from kdstudy.seeds import derive


@dataclass(frozen=True)
class Named:
    """An augmentation that a study file lists.

    Args:
        name: Registered, or ``package.module:Name``.
        options: Its keyword-only arguments, plain values.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EpochChange:
    """What the listed augmentations make of the images of one epoch: a function of their indices, for any process.

    Args:
        named: The augmentations, in order.
        size: (S, S) of what networks look at; what is still larger at the end is cut to its middle.
        mean: Of the data set's channels, in [0, 1].
        seed: Of the epoch.
        allowed: Whose code may run where this is unpacked.
    """

    named: tuple[Named, ...]
    size: tuple[int, int]
    mean: tuple[float, ...]
    seed: int
    allowed: tuple[str, ...] = field(default_factory=allowed_words)

    def __call__(self, images_BCHW: Tensor, indices_B: Tensor) -> Tensor:
        """Return the changed images, (B, C, S, S) uint8, on the CPU.

        Args:
            images_BCHW: uint8.
            indices_B: Position of each in its split.

        Raises:
            DataError: An augmentation made something else of an image, or failed.
        """
        changes = self._changes()
        with _undisturbed():
            made = [self._image(*each, changes) for each in zip(images_BCHW.cpu(), indices_B.tolist(), strict=True)]
        return torch.stack(made)

    def _image(self, image: Tensor, index: int, changes: tuple[Change, ...]) -> Tensor:
        channels = len(image)
        _seed(derive(self.seed, index))
        for step, change in zip(self.named, changes, strict=True):
            image = _applied(change, image, step.name, channels)
        height, width = image.shape[1:]
        if height < self.size[0] or width < self.size[1]:
            raise DataError(
                f"data.augment: images of {height} x {width} pixels are left, but networks look at {self.size[0]} x "
                f"{self.size[1]}; let no augmentation make them smaller"
            )
        return middle(image, self.size)

    def _changes(self) -> tuple[Change, ...]:
        allow_plugins(*self.allowed)
        plain = json.dumps([[step.name, dict(step.options)] for step in self.named], sort_keys=True)
        return _built(plain, self.size, self.mean)


def middle(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the middle of images (..., H, W), of a size that is no larger; rounded as torchvision's ``CenterCrop``."""
    (height, width), (tall, wide) = images.shape[-2:], size
    top, left = round((height - tall) / 2), round((width - wide) / 2)
    return images[..., top : top + tall, left : left + wide]


def names_of(named: tuple[Named, ...]) -> str:
    """Return the augmentations' names, for a sentence."""
    return ", ".join(dict.fromkeys(step.name for step in named))


@functools.lru_cache(maxsize=8)
def _built(plain: str, size: tuple[int, int], mean: tuple[float, ...]) -> tuple[Change, ...]:
    return tuple(_build(name, options, size, mean) for name, options in json.loads(plain))


def _build(name: str, options: Mapping[str, Any], size: tuple[int, int], mean: tuple[float, ...]) -> Change:
    plugin = AUGMENTATIONS.load(name)
    known = {"size": size, "mean": mean}
    arguments = inspect.signature(plugin).parameters
    # A keyword-only argument is an option, whatever it is called.
    taken = {key for key in known if key in arguments and arguments[key].kind is not inspect.Parameter.KEYWORD_ONLY}
    made: Change = plugin(**{key: known[key] for key in taken}, **options)
    return made


def _applied(change: Change, image: Tensor, name: str, channels: int) -> Tensor:
    try:
        made = change(image)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"data.augment: {name} cannot change an image of {tuple(image.shape)} ({reason}); leave it out, or mend it"
        ) from error
    if not isinstance(made, Tensor) or made.dtype != torch.uint8 or made.dim() != 3 or len(made) != channels:
        got = f"{made.dtype} of {tuple(made.shape)}" if isinstance(made, Tensor) else f"a {type(made).__name__}"
        raise DataError(
            f"data.augment: {name} must make a torch.uint8 image of ({channels}, H, W) of one, got {got}; correct it"
        )
    return made


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Work on one thread (a sum depends on their number), and put the CPU's global generators back at the end."""
    states = torch.default_generator.get_state(), np.random.get_state(), random.getstate()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.default_generator.set_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def _seed(seed: int) -> None:
    """Seed the CPU's global generators; `torch.manual_seed` would seed every device's."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
