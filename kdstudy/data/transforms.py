"""The augmentations that a study file lists by name: those of `torchvision.transforms.v2`, and their options.

A plug-in is a function, or a class, that is called once with its options (and with ``size`` and ``mean`` if it takes
arguments of these names) and gives a callable: from one uint8 image (C, H, W) to another. Every random number in
it comes from the global generators of torch, NumPy or Python, which are seeded for each image: so what an image
becomes depends on the trial's data seed, the epoch and the image's index, and on nothing else.

Shapes: C channels; H and W positions of an image as it is kept, S of what networks look at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from torch import Tensor

from kdstudy.errors import DataError

Change = Callable[[Tensor], Tensor]
"""From one uint8 image (C, H, W) to another of the same type and channels."""
Share = Annotated[float, Gt(0), Le(1)]
Chance = Annotated[float, Ge(0), Le(1)]
Ratio = Annotated[float, Gt(0)]
Strength = Annotated[float, Ge(0)]
Magnitude = Annotated[int, Ge(0), Le(30)]
_PILLOWS_CHANNELS = (1, 3)
LEVELS = 31
"""Magnitudes of `rand_augment` and `trivial_augment_wide`, from 0, as in the papers' code and in torchvision."""


def random_resized_crop(
    size: tuple[int, int], *, scale: tuple[Share, Share] = (0.08, 1.0), ratio: tuple[Ratio, Ratio] = (3 / 4, 4 / 3)
) -> Change:
    """Scale a random window of the image to the size that networks look at, with antialiasing.

    The window is cut from the image as it is kept: of image files the middle square of ``resize`` x ``resize`` pixels.

    Args:
        size: (S, S).
        scale: Smallest and largest share of the image's area that the window keeps, each in (0, 1].
        ratio: Smallest and largest ratio of the window's width to its height, each > 0.

    Source: Szegedy et al. 2015, arXiv 1409.4842, section 6; `torchvision.transforms.v2.RandomResizedCrop`.
    """
    rising("random_resized_crop.scale", scale)
    rising("random_resized_crop.ratio", ratio)
    made: Change = _v2().RandomResizedCrop(size, scale=tuple(scale), ratio=tuple(ratio), antialias=True)
    return made


def random_crop(size: tuple[int, int], *, padding: Annotated[int, Ge(0)] = 4) -> Change:
    """Cut a window of the size that networks look at out of the image, at a random place.

    Args:
        size: (S, S).
        padding: Zeros put around the image before, in pixels, >= 0.

    Source: He et al. 2016, arXiv 1512.03385, section 4.2; `torchvision.transforms.v2.RandomCrop`.
    """
    made: Change = _v2().RandomCrop(size, padding=padding)
    return made


def flip(*, p: Chance = 0.5) -> Change:
    """Mirror the image left to right, or leave it.

    Args:
        p: How likely it is mirrored, in [0, 1].

    Source: `torchvision.transforms.v2.RandomHorizontalFlip`.
    """
    made: Change = _v2().RandomHorizontalFlip(p)
    return made


def rand_augment(*, num_ops: Annotated[int, Ge(1)] = 2, magnitude: Magnitude = 9) -> Change:
    """Apply a few operations chosen at random, all at one magnitude: shear, shift, rotate, colours, contrast, ...

    Args:
        num_ops: How many, one after the other, >= 1.
        magnitude: How strongly, from 0 to 30.

    Source: Cubuk et al. 2020, arXiv 1909.13719; `torchvision.transforms.v2.RandAugment`.
    """
    return _by_pillow(_v2().RandAugment(num_ops=num_ops, magnitude=magnitude, num_magnitude_bins=LEVELS))


def trivial_augment_wide() -> Change:
    """Apply one operation chosen at random, at a magnitude chosen at random; there is nothing to tune.

    Source: Müller & Hutter 2021, arXiv 2103.10158; `torchvision.transforms.v2.TrivialAugmentWide`.
    """
    return _by_pillow(_v2().TrivialAugmentWide(num_magnitude_bins=LEVELS))


def color_jitter(
    *,
    brightness: Strength = 0.4,
    contrast: Strength = 0.4,
    saturation: Strength = 0.4,
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0,
) -> Change:
    """Change the colours at random, in random order.

    Args:
        brightness: Factors are drawn from [max(0, 1 - brightness), 1 + brightness]; 0 for none, like the rest.
        contrast: Likewise.
        saturation: Likewise.
        hue: Shifts are drawn from [-hue, hue], in turns of the colour wheel, in [0, 0.5].

    Source: `torchvision.transforms.v2.ColorJitter`.
    """
    made: Change = _v2().ColorJitter(brightness, contrast, saturation, hue)
    return made


def random_erasing(
    mean: tuple[float, ...],
    *,
    p: Chance = 0.25,
    scale: tuple[Share, Share] = (0.02, 1 / 3),
    ratio: tuple[Ratio, Ratio] = (0.3, 3.3),
    fill: Literal["mean", "black"] = "mean",
) -> Change:
    """Paint a rectangle at a random place over.

    Args:
        mean: Of the data set's channels, in [0, 1].
        p: How likely, in [0, 1].
        scale: Smallest and largest share of the image's area that is painted over, each in (0, 1].
        ratio: Smallest and largest ratio of the rectangle's sides, each > 0.
        fill: ``mean``: the data set's mean colour, which is 0 once a network has normalised it; or ``black``.

    Source: Zhong et al. 2020, arXiv 1708.04896; `torchvision.transforms.v2.RandomErasing`.
    """
    rising("random_erasing.scale", scale)
    rising("random_erasing.ratio", ratio)
    value = [round(255 * level) for level in mean] if fill == "mean" else 0
    made: Change = _v2().RandomErasing(p, scale=tuple(scale), ratio=tuple(ratio), value=value)
    return made


def rising(option: str, ends: tuple[float, float]) -> None:
    """See that a range is written from its lower end to its upper one.

    Raises:
        DataError: It is not.
    """
    low, high = ends
    if low > high:
        raise DataError(f"data.augment: {option} must be [lowest, highest], got [{low}, {high}]; write [{high}, {low}]")


def _by_pillow(change: Any) -> Change:
    """Have Pillow work at grey and coloured images: at 256 px in half the time of tensors, there and back included.

    (For the other augmentations tensors are as fast, or faster.)
    """
    functional = _v2().functional

    def changed(image: Tensor) -> Tensor:
        if len(image) in _PILLOWS_CHANNELS:
            made: Tensor = functional.pil_to_tensor(change(functional.to_pil_image(image)))
        else:
            made = change(image)
        return made

    return changed


def _v2() -> Any:
    from kdstudy.data.torchvision_v2 import v2

    return v2
