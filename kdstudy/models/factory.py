"""Builds a registered or user-supplied network that takes images in [0, 1] and normalises them itself.

Shapes: B images, C channels, H and W positions.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from kdstudy.errors import ModelError
from kdstudy.models.inspection import evaluating
from kdstudy.plugins import MODELS

NORMALISE = "normalise"
"""Name of the submodule that holds mean and standard deviation; no crucial layer."""


@final
class Normalise(nn.Module):
    """Subtract a mean and divide by a standard deviation, each per channel.

    Both are saved with the network, so exported weights are complete.

    Args:
        mean: One number per channel, in [0, 1] image units.
        std: One positive number per channel, in the same units.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the normalised images, (B, C, H, W)."""
        return (images_BCHW - self.mean) / self.std


def _normalise_input(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
    return module.get_submodule(NORMALISE)(*inputs)


def build_model(  # noqa: PLR0913 - all that the weights and the input depend on
    name: str,
    options: Mapping[str, Any],
    *,
    num_classes: int,
    image_shape: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
) -> nn.Module:
    """Build the network called ``name`` on the CPU, its weights a function of ``seed`` alone.

    Normalisation runs before the network's own forward pass and is held in its submodule ``normalise``; every
    other layer keeps the name that the network's author gave it.

    Args:
        name: A registered model, or ``package.module:Name`` of a factory or class that takes ``(num_classes,
            in_channels)`` and keyword-only options and gives a `torch.nn.Module` from images to logits.
        options: The factory's keyword-only arguments.
        num_classes: Number of logits.
        image_shape: (C, H, W) of one image.
        mean: Of the images in [0, 1], one number per channel.
        std: Positive, one number per channel.
        seed: Of the initial weights; any integer >= 0.

    Raises:
        PluginError: No model of that name.
        ModelError: The factory does not fit the shape above, mean and std do not fit the images, or the
            network does not turn such images into logits (they are too small, most often).
    """
    channels = image_shape[0]
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise ModelError(
            f"model: images have {channels} channel(s), got mean {list(mean)} and std "
            f"{list(std)}; give {channels} of each, standard deviations above 0"
        )
    factory = MODELS.load(name)
    try:
        inspect.signature(factory).bind(num_classes, channels, **options)
    except TypeError as error:
        raise ModelError(
            f"model: '{name}' cannot be called as f(num_classes, in_channels, *, options) "
            f"({error}); see `kdstudy models` for what each takes"
        ) from error
    # Only the CPU generator is touched, and put back: building must not shift any other random stream.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        module = factory(num_classes, channels, **options)
    if not isinstance(module, nn.Module) or hasattr(module, NORMALISE):
        raise ModelError(
            f"model: '{name}' gave {type(module).__name__}; it must give a torch.nn.Module "
            f"without an attribute '{NORMALISE}' of its own"
        )
    module.add_module(NORMALISE, Normalise(mean, std))
    module.register_forward_pre_hook(_normalise_input)
    _try_out(name, module, image_shape, num_classes)
    return module


def _try_out(name: str, module: nn.Module, image_shape: Sequence[int], num_classes: int) -> None:
    """Run one image through, in eval mode, so that no random stream and no statistic moves.

    Raises:
        ModelError: The network does not take such images, or gives no logits.
    """
    size = "x".join(map(str, image_shape))
    try:
        with evaluating(module), torch.no_grad():
            logits = module(torch.zeros(1, *image_shape))
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"model: '{name}' does not take images of {size} ({reason}); choose larger images or another network"
        ) from error
    if not isinstance(logits, Tensor) or logits.shape != (1, num_classes):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(
            f"model: '{name}' gave {got} for one image, not logits (1, {num_classes}); its "
            "forward pass must return one row of logits per image"
        )
