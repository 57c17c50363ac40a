"""Builds a registered or user-supplied network that takes images in [0, 1] and normalises them itself."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from kdstudy.errors import KdstudyError, ModelError
from kdstudy.models.inspection import evaluating
from kdstudy.models.normalised import NORMALISE, Normalised
from kdstudy.models.pretrained import pretrained_of
from kdstudy.models.randomness import seeded_generators
from kdstudy.plugins import MODELS

DEBUG = "`kdstudy --debug` shows where"


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

    torch's, NumPy's and Python's global generators are seeded while it is built, and put back. Lazy parameters get
    their shape, and their values, then. Normalisation runs before the network's own forward pass and is held in the
    submodule ``normalise``; every other layer keeps the name that the network's author gave it. Activations do not work
    in place, which would overwrite the outputs that are recorded. A network that begins with pretrained weights is
    normalised as they were, where that is known.

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
        ModelError: The factory does not fit the shape above or raises, mean and std do not fit the images, or the
            network does not turn such images into logits (they are too small, most often).
    """
    channels = image_shape[0]
    _require_fit(channels, mean, std)
    factory = MODELS.load(name)
    try:
        inspect.signature(factory).bind(num_classes, channels, **options)
    except TypeError as error:
        raise ModelError(
            f"model: '{name}' cannot be called as f(num_classes, in_channels, *, options) "
            f"({error}); see `kdstudy models` for what each takes"
        ) from error
    with seeded_generators(seed):
        with told_in_one_line(name, f"'{name}' cannot be built", DEBUG, ()):
            network = factory(num_classes, channels, **options)
        _refuse_unusable(name, network)
        known = pretrained_of(network)
        if known is not None and known.mean is not None and known.std is not None:
            mean, std = known.mean, known.std
            _require_fit(channels, mean, std)
        module = Normalised(network, mean, std)
        _try_out(name, module, image_shape, num_classes)
    return module


def _require_fit(channels: int, mean: Sequence[float], std: Sequence[float]) -> None:
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise ModelError(
            f"model: images have {channels} channel(s), got mean {list(mean)} and std "
            f"{list(std)}; give {channels} of each, standard deviations above 0"
        )


def is_own(name: str) -> bool:
    """Say whether a model is code of a user's, of which nothing is known but that it runs."""
    return ":" in name


@contextlib.contextmanager
def told_in_one_line(
    name: str, what: str, advice: str, ours: tuple[type[Exception], ...] = (RuntimeError, ValueError)
) -> Iterator[None]:
    """Tell in one line what a user's code raises; the traceback stays the line's cause.

    Args:
        name: The model.
        what: For the message: what went wrong.
        advice: For the message: what to do.
        ours: What a user can cause in a registered model too; all else that one raises is a fault of kdstudy's.
    """
    try:
        yield
    except (KdstudyError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if not is_own(name) and not isinstance(error, ours):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"model: {what} ({type(error).__name__}: {reason}); {advice}") from error


def _refuse_unusable(name: str, network: Any) -> None:
    """Refuse what is no network, and networks whose layers cannot be recorded.

    Raises:
        ModelError: It is one.
    """
    if not isinstance(network, nn.Module):
        raise ModelError(f"model: '{name}' gave {type(network).__name__}; it must give a torch.nn.Module")
    compiled = "_orig_mod" in network._modules or network._compiled_call_impl is not None
    if compiled or isinstance(network, torch.jit.ScriptModule):
        how = "compiled by torch.compile" if compiled else "a TorchScript program"
        raise ModelError(
            f"model: '{name}' gave a network that is {how}, whose layers cannot be recorded; give the module as it is "
            "before"
        )
    if any(NORMALISE in parts for parts in (network._modules, network._parameters, network._buffers)):
        raise ModelError(
            f"model: '{name}' has a part '{NORMALISE}' of its own, the name of the one that kdstudy adds; rename it"
        )


def _try_out(name: str, module: nn.Module, image_shape: Sequence[int], num_classes: int) -> None:
    """Run one image through, in eval mode, so that no statistic moves; give lazy parameters their values.

    Raises:
        ModelError: The network does not take such images, or gives no logits.
    """
    size = "x".join(map(str, image_shape))
    advice = "choose larger images or another network" + (f"; {DEBUG}" if is_own(name) else "")
    with (
        told_in_one_line(name, f"'{name}' does not take images of {size}", advice),
        evaluating(module),
        torch.no_grad(),
    ):
        logits = _without_in_place(module, torch.zeros(1, *image_shape))
    if not isinstance(logits, Tensor) or logits.shape != (1, num_classes):
        raise ModelError(
            f"model: '{name}' gave {describe(logits)} for one image, not logits (1, {num_classes}); its "
            "forward pass must return one row of logits per image"
        )
    lazy = [key for key, value in (*module.named_parameters(), *module.named_buffers()) if is_lazy(value)]
    if lazy:
        raise ModelError(f"model: '{name}' does not use its lazy '{lazy[0]}', whose shape stays unknown; remove it")


def _without_in_place(module: nn.Module, images: Tensor) -> Any:
    """Let no module work in place from now on, and return what the network gives.

    A network whose own result that would change, as it goes on with what was overwritten, keeps its way.
    """
    working = [child for child in module.modules() if getattr(child, "inplace", False) is True]
    before = module(images)
    for child in working:
        child.inplace = False  # type: ignore[assignment]  # an attribute of activations, not a submodule
    after = module(images) if working else before
    if isinstance(before, Tensor) and isinstance(after, Tensor) and same_numbers(before, after):
        return after
    for child in working:
        child.inplace = True  # type: ignore[assignment]
    return before


def same_numbers(one: Tensor, other: Tensor) -> bool:
    """Say whether two tensors have the same shape, type and bits; all NaN are alike."""
    alike = one.shape == other.shape and one.dtype == other.dtype
    return alike and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def describe(output: Any) -> str:
    """Return in a few words what a network gave, for a message."""
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    if isinstance(output, Mapping):
        return f"a dict of {', '.join(map(str, output))}"
    fields = getattr(output, "_fields", ())
    if isinstance(output, tuple | list):
        return f"{type(output).__name__} of " + (", ".join(fields) or f"{len(output)}")
    return type(output).__name__
