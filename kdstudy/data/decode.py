"""One image file as uint8 RGB: all that eight bits can hold of it, or a refusal; never what a mode happens to become.

Shapes: H and W of the file, S the side asked for, N windows.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kdstudy.data.levels import to_rgb
from kdstudy.errors import DataError

if TYPE_CHECKING:
    from PIL import Image as Images

Fit = Literal["stretch", "crop"]

_FOREIGN = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"})
"""Formats that Pillow knows and cannot decode, or only by another program."""
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


def is_empty(path: str) -> bool:
    """Return whether a file is there and has no byte."""
    return os.path.isfile(path) and os.path.getsize(path) == 0  # noqa: PTH113, PTH202 - paths are strings here


def is_image(path: str) -> bool:
    """Return whether a file begins as an image that Pillow can decode, whatever its name."""
    with contextlib.suppress(Exception), open_image(path) as opened:  # decoders trying a stranger raise anything
        return opened.format not in _FOREIGN
    return False


def is_turned(path: str) -> bool:
    """Return whether an image says that its camera was not held upright; False where it cannot be looked into."""
    with contextlib.suppress(Exception), open_image(path) as opened:
        return opened.getexif().get(_ORIENTATION) in _TURNS
    return False


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
    image = to_rgb(opened, where, white)
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
        image = to_rgb(opened, path, white)
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
    except DataError:
        raise
    except Exception as error:  # decoders raise whatever they come upon in a damaged file
        raise DataError(unreadable(path, error)) from error


def unreadable(path: str, error: Exception) -> str:
    """Return what to say of a file that cannot be read."""
    reason = "not a whole image that Pillow reads"
    if isinstance(error, MemoryError):
        reason = "it takes more memory than there is"
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    elif is_empty(path):
        reason = "it is empty"
    return f"data: {path} cannot be read ({reason}); put the file in place or take it out of the data set"


def open_image(file: str | BinaryIO) -> Images.Image:
    """Open an image; below Pillow's limit, its size is no reason for a warning: the file is the user's own."""
    from PIL import Image

    # Filters of warnings belong to the process, and threads decode side by side.
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(file)
        if image.format == "TIFF" and image.getexif().get(_ORIENTATION) in _TURNS:
            image.filename = ""  # else Pillow maps what is not compressed into memory, with height and width exchanged
        return image
