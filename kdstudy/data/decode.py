"""One image file as uint8 RGB: all that eight bits can hold of it, or a refusal; never what a mode happens to become.

Shapes: H and W of the file, S the side asked for, N windows.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kdstudy.errors import DataError

if TYPE_CHECKING:
    from PIL import Image as Images

Fit = Literal["stretch", "crop"]

_EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
"""Pillow's modes of at most eight bits a channel, which its conversion to RGB keeps."""
_SIXTEEN_BITS = frozenset({"PNG", "PPM", "JPEG2000", "TIFF"})
"""Pillow's formats in which grey of more than eight bits has 16, of which white is the largest."""
_FOREIGN = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"})
"""Formats that Pillow knows and cannot decode, or only by another program."""
_PHOTOMETRIC = 262
"""TIFF's tag that tells what the levels mean."""
_ORIENTATION = 274
"""Exif's tag that tells how the camera was held."""
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""What makes an image upright, by that tag (Exif 2.32, section 4.6.4)."""
WHITE = 2**16 - 1
DARK = 2**12 - 1
"""An image of 16 bits that has no level above this is taken for one of 12, unless the user says otherwise."""
_opening = threading.Lock()


class Window(NamedTuple):
    """A square that is cut out of an image, in whole pixels of its file; what is outside the image is black.

    Attributes:
        left: Its first column; may be negative.
        top: Its first row; likewise.
        side: Its height and width, >= 1.
        width: Of the image that it is meant for.
        height: Likewise.
    """

    left: int
    top: int
    side: int
    width: int
    height: int


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Return the endings of files that Pillow can decode, in small letters, with their dot."""
    from PIL import Image

    return frozenset(
        suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN and form not in _FOREIGN
    )


def decode(path: str, size: int, fit: Fit, white: int | None = None, exif: bool = False) -> Tensor:
    """Read one image as (3, S, S) uint8, reduced with antialiasing.

    A JPEG much larger than needed is decoded at a fraction of its size, at least twice ``size``: several
    times faster, with a difference that the reduction hides. Transparency is left out.

    Args:
        path: The file.
        size: S, in pixels.
        fit: How the image becomes square: see `kdstudy.data.files.ImageFiles`.
        white: Level that is white where there are more than eight bits: see there.
        exif: Whether the image is turned as the camera noted; else it is as it lies in the file, as for torchvision.

    Raises:
        DataError: The file cannot be read, is too large, or holds what eight bits cannot.
    """
    with reading(path), open_image(path) as opened:
        return square(opened, path, size, fit, white, exif)


def square(
    opened: Images.Image, where: str, size: int | None, fit: Fit, white: int | None = None, exif: bool = False
) -> Tensor:
    """Return an image as `decode` does; what Pillow raises for one that is damaged is not caught.

    Args:
        opened: By Pillow, perhaps not yet decoded.
        where: What messages call it.
        size: S; None for the image as large as it is, (3, H, W).
        fit: As for `decode`, like the rest.
        white: Likewise.
        exif: Likewise.

    Raises:
        DataError: It holds what eight bits cannot.
    """
    from PIL import Image, ImageOps

    if size is not None:
        opened.draft("RGB", (2 * size, 2 * size))
    image = _to_rgb(opened, where, white)
    turned = opened.getexif().get(_ORIENTATION) if exif else None  # now: of TIFF, Pillow turns some as it decodes
    if turned in _TURNS:
        image = image.transpose(Image.Transpose[_TURNS[turned]])
    if size is not None and fit == "crop":
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    elif size is not None:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return _pixels(image)


def decode_windows(path: str, windows: Sequence[Window], size: int, white: int | None = None) -> Tensor:
    """Read one image once and cut windows out of it: (N, 3, S, S) uint8, scaled with antialiasing.

    Args:
        path: The file.
        windows: N of them, >= 1.
        size: S, in pixels.
        white: As for `decode`.

    Raises:
        DataError: As for `decode`; or the image has another size than the windows are meant for.
    """
    from PIL import Image

    with reading(path), open_image(path) as opened:
        image = _to_rgb(opened, path, white)
    for window in windows:
        if image.size != (window.width, window.height):
            raise DataError(
                f"data: {path} has {image.width} x {image.height} pixels, its annotations are for {window.width} x "
                f"{window.height}; scale one to the other"
            )
    cut = (image.crop((left, top, left + side, top + side)) for left, top, side, _, _ in windows)
    return torch.stack([_pixels(square.resize((size, size), Image.Resampling.BILINEAR)) for square in cut])


def _pixels(image: Images.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Make one line, a `DataError`, of what Pillow raises about an image."""
    from PIL import Image

    try:
        yield
    except Image.DecompressionBombError as error:
        raise DataError(f"data: {path} is too large ({str(error).partition(', could')[0]}); scale it down") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(unreadable(path, error)) from error


def unreadable(path: str, error: Exception) -> str:
    """Return what to say of a file that cannot be read."""
    reason = (error.strerror if isinstance(error, OSError) else None) or "not a whole image that Pillow reads"
    return f"data: {path} cannot be read ({reason}); put the file in place or take it out of the data set"


def open_image(file: str | BinaryIO) -> Images.Image:
    """Open an image; below Pillow's limit, its size is no reason for a warning: the file is the user's own."""
    from PIL import Image

    # Filters of warnings belong to the process, and threads decode side by side.
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file)


def _to_rgb(image: Images.Image, path: str, white: int | None) -> Images.Image:
    if image.mode in _EIGHT_BITS:
        deep = any(mark in _raw_mode(image) for mark in (";16", "65535"))  # Pillow keeps the upper half of each colour
        if image.mode == "P" and "transparency" in image.info:  # else Pillow warns; the colours are the same
            image = image.convert("RGBA")
        converted = image.convert("RGB")
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
    levels_HW: np.ndarray[Any, np.dtype[np.int64]] = np.asarray(image).astype(np.int64)
    if top is None:
        raise DataError(
            f"data: {path} has grey levels of up to 32 bits (from {levels_HW.min()} to {levels_HW.max()}); say which "
            "is white in data.options.white, or save it with 8 or 16 bits"
        )
    if levels_HW.min() < 0 or levels_HW.max() > top:
        raise DataError(
            f"data: {path} has grey levels from {levels_HW.min()} to {levels_HW.max()}, but white is {top}; "
            "correct data.options.white, or the file"
        )
    if white is None and top == WHITE and 0 < levels_HW.max() <= DARK:
        raise DataError(_dark(path, f"grey levels up to {levels_HW.max()}", f"say data.options.white: {DARK}"))
    if _inverted(image):
        levels_HW = top - levels_HW
    return Image.fromarray(((levels_HW * 255 + top // 2) // top).astype(np.uint8)).convert("RGB")


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
