"""Levels of any depth as eight bits a colour: all that these can hold of an image, or a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kdstudy.errors import DataError

if TYPE_CHECKING:
    from PIL import Image as Images

_EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
"""Pillow's modes of at most eight bits a channel, which its conversion to RGB keeps."""
_SIXTEEN_BITS = frozenset({"PNG", "PPM", "JPEG2000", "TIFF"})
"""Pillow's formats in which grey of more than eight bits has 16, of which white is the largest."""
_PHOTOMETRIC = 262
"""TIFF's tag that tells what the levels mean."""
WHITE = 2**16 - 1
DARK = 2**12 - 1
"""An image of 16 bits that has no level above this is taken for one of 12, unless the user says otherwise."""
ROWS = 256
"""So many rows of grey levels are scaled at once."""


def to_rgb(image: Images.Image, path: str, white: int | None) -> Images.Image:
    """Return an image as RGB of eight bits; what Pillow raises for one that is damaged is not caught.

    Args:
        image: Opened by Pillow, perhaps not yet decoded.
        path: What messages call it.
        white: Level that is white where there are more than eight bits; None for what the file says.

    Raises:
        DataError: It holds what eight bits cannot.
    """
    if image.mode in _EIGHT_BITS:
        deep = any(mark in _raw_mode(image) for mark in (";16", "65535"))  # Pillow keeps the upper half of each colour
        if image.mode == "P" and "transparency" in image.info:  # else Pillow warns; the colours are the same
            image = image.convert("RGBA")
        image.load()
        converted = image if image.mode == "RGB" else image.convert("RGB")  # of RGB, it would be a copy
        if deep:
            _check_deep_colours(converted, path, white)
        return converted
    if image.mode != "I" and not image.mode.startswith("I;16"):
        raise DataError(
            f"data: {path} holds numbers of which no white is known (Pillow's mode {image.mode}); save it with 8 or 16 "
            "bits a channel"
        )
    return _grey(image, path, white)


def _grey(image: Images.Image, path: str, white: int | None) -> Images.Image:
    """Scale grey levels of more than eight bits to eight."""
    from PIL import Image

    top = white or _white_of(image)
    inverted = _inverted(image)
    levels_HW: np.ndarray[Any, np.dtype[Any]] = np.asarray(image)
    low, high = int(levels_HW.min()), int(levels_HW.max())
    if top is None:
        raise DataError(
            f"data: {path} has grey levels of up to 32 bits (from {low} to {high}); say which is white in "
            "data.options.white, or save it with 8 or 16 bits"
        )
    if low < 0 or high > top:
        raise DataError(
            f"data: {path} has grey levels from {low} to {high}, but white is {top}; correct data.options.white, or "
            "the file"
        )
    if white is None and top == WHITE and 0 < high <= DARK:
        raise DataError(_dark(path, f"grey levels up to {high}", f"say data.options.white: {DARK}"))
    eight_HW = np.empty(levels_HW.shape, np.uint8)
    for rows in range(0, len(levels_HW), ROWS):  # eight bytes a level are too many for a large image at once
        part = levels_HW[rows : rows + ROWS].astype(np.int64)
        part = top - part if inverted else part
        eight_HW[rows : rows + ROWS] = (part * 255 + top // 2) // top
    return Image.fromarray(eight_HW).convert("RGB")


def _white_of(image: Images.Image) -> int | None:
    """Return the level that is white as the file says; None where it does not."""
    if image.format not in _SIXTEEN_BITS or (image.mode == "I" and image.format == "TIFF"):
        return None
    return DARK if "I;12" in _raw_mode(image) else WHITE


def _inverted(image: Images.Image) -> bool:
    """Return whether 0 is white, as TIFF can say; of eight bits Pillow sees to that."""
    return image.format == "TIFF" and bool(getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0)


def _raw_mode(image: Images.Image) -> str:
    """Return how an image that is not decoded yet stands in its file, as Pillow's decoders are told."""
    return str([tile[3] for tile in getattr(image, "tile", ())])


def _check_deep_colours(image: Images.Image, path: str, white: int | None) -> None:
    """See that the upper halves of 16 bits, which Pillow keeps, hold the image."""
    brightest = max(int(band[1]) for band in image.getextrema())  # type: ignore[index]
    if white not in (None, WHITE):
        raise DataError(
            f"data: {path} has colours of 16 bits, of which white is {WHITE}, but data.options.white is {white}; "
            "save it with 8 bits a colour"
        )
    if white is None and 0 < brightest <= DARK >> 8:
        raise DataError(_dark(path, f"colours up to {DARK}", "save it with 8 bits a colour"))


def _dark(path: str, found: str, remedy: str) -> str:
    return (
        f"data: {path} has 16 bits but only {found}, as images of 12 bits have; {remedy}, or data.options.white: "
        f"{WHITE} if it is that dark"
    )
