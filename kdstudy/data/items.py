"""Items of a user's own data set, `torch.utils.data.Dataset` or alike: an image and a label, read when looked at.

Shapes: N images, C channels, H and W of an item's image, S of the side asked for, K classes.
"""

from __future__ import annotations

import functools
import logging
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from kdstudy.data.decode import Fit, square
from kdstudy.data.stored import FINGERPRINT_BYTES, StoredImages
from kdstudy.errors import DataError
from kdstudy.plugins import DATASETS, allow_plugins, allowed_words

if TYPE_CHECKING:
    from hashlib import _Hash

    from PIL import Image as Images

log = logging.getLogger(__name__)

SAMPLE = 1024
"""So many items, spread evenly, does a fingerprint cover of images that are too many for all of them."""
WORTH_PROCESSES = 2048
"""Fewer items are read in this process: others would take longer to start."""
MOST_CHANNELS = 4
"""An image of more, whose last axis is no longer than this, has its channels last."""


class Items:
    """One part of a data set, which travels to other processes and is unpacked there when it is first looked at.

    Args:
        dataset: Its ``len()`` and ``[index]``, an item of image and label, are all that is used.
        part: ``training`` or ``test``, for messages.
        plugin: Name of the plug-in that it is from, whose module is imported before it is unpacked.
        white: Of PIL images: see `kdstudy.data.files.ImageFiles`.
        exif: Likewise.
    """

    def __init__(self, dataset: Any, part: str, plugin: str, *, white: int | None = None, exif: bool = False) -> None:
        self.part, self._plugin, self._white, self._exif = part, plugin, white, exif
        self._dataset, self._packed = dataset, b""

    def __getstate__(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("part", "_plugin", "_white", "_exif")}
        return {**plain, "_words": allowed_words(), "_packed": pickle.dumps(self.dataset)}

    @property
    def dataset(self) -> Any:
        """The data set itself."""
        if self._packed:
            allow_plugins(*self._words)
            DATASETS.load(self._plugin)
            self._dataset, self._packed = pickle.loads(self._packed), b""  # noqa: S301 - packed by this program
        return self._dataset

    _words: tuple[str, ...] = ()

    def where(self, index: int) -> str:
        """Return what messages call an item."""
        return f"item {index} of the {self.part} data set"

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return image and label of an item as the data set gives them.

        Raises:
            DataError: It gives none, or raises something.
        """
        try:
            item = self.dataset[index]
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"data: {self.where(index)} {_raised(error)}; mend it (--debug shows where)") from error
        if not isinstance(item, tuple | list) or len(item) != 2:
            got = f"{len(item)} values" if isinstance(item, tuple | list) else f"of type {type(item).__name__}"
            raise DataError(f"data: {self.where(index)} is {got}; give (image, label)")
        return item[0], item[1]

    def pixels(self, image: Any, index: int, size: int | None, fit: Fit) -> Tensor:
        """Return an item's image as (C, S, S) uint8; (C, H, W) where no size is asked for.

        Raises:
            DataError: It is none, or not one of eight bits.
        """
        from PIL import Image

        where = self.where(index)
        if isinstance(image, Image.Image):
            return _from_pillow(image, where, size, fit, self._white, self._exif)
        array = _as_bytes(image, where)
        return array if size is None else _scaled(array, size, fit)


@dataclass(frozen=True, eq=False)
class ItemImages(StoredImages):
    """Images of some items, as (N, C, H, W) uint8.

    Args:
        items: Of the whole part.
        indices: Which of them, (N,) int64.
        image_shape: (C, H, W), which every image must have.
        size: Side that images are brought to; None where they have it.
        fit: How: ``crop`` keeps the middle undistorted, ``stretch`` keeps all of it.
        memory: As for `StoredImages`.
        workers: Likewise.
    """

    items: Items
    indices: Tensor
    image_shape: tuple[int, int, int]
    size: int | None
    fit: Fit
    memory: float
    workers: int

    @property
    @override
    def shape(self) -> torch.Size:
        return torch.Size((len(self.indices), *self.image_shape))

    @property
    def quickly_known(self) -> bool:
        """Whether a fingerprint covers all of them, for which they must be read."""
        return self.nbytes <= FINGERPRINT_BYTES

    @override
    def take(self, indices: Tensor) -> ItemImages:
        return replace(self, indices=self.indices[indices])

    @override
    def add_to(self, digest: _Hash) -> None:
        """Add the pixels, as those of a tensor; of more than `FINGERPRINT_BYTES` those of `SAMPLE` items."""
        count = len(self.indices)
        chosen = torch.arange(count)
        if not self.quickly_known and count > SAMPLE:
            chosen = torch.linspace(0, count - 1, SAMPLE, dtype=torch.float64).long()
        digest.update(f"{torch.uint8}{tuple(self.shape)}".encode())
        for images in map(self.__getitem__, chosen.split(64)):
            digest.update(images.numpy().data)

    @override
    def _places(self) -> dict[int, list[int]]:
        places: dict[int, list[int]] = {}
        for place, index in enumerate(self.indices.tolist()):
            places.setdefault(index, []).append(place)
        return places

    @override
    def _read(self, what: int, places: list[int]) -> Tensor:
        return self.checked(self.items[what][0], what)[None]

    def checked(self, image: Any, index: int) -> Tensor:
        """Return the pixels of an item that has been read.

        Raises:
            DataError: They are not of the shape of the others.
        """
        pixels = self.items.pixels(image, index, self.size, self.fit)
        if pixels.shape != self.image_shape:
            raise DataError(
                f"data: {self.items.where(index)} has {_told(pixels.shape)} (channels x height x width), others have "
                f"{_told(self.image_shape)}; make them alike, or return TrainTest(train, test, size=64), which scales"
            )
        return pixels

    @override
    def _read_all(self) -> Iterator[tuple[list[int], Tensor]]:
        if len(self.indices) < WORTH_PROCESSES:
            yield from super()._read_all()
            return
        chunks = torch.arange(len(self.indices)).split(64)
        for chunk, images in zip(chunks, self.stream(chunks, "cpu"), strict=True):
            yield chunk.tolist(), images

    @override
    def _processes(self) -> int:
        if self.workers == 0 or _travels(self.items):
            return self.workers
        return 0


@functools.lru_cache(maxsize=4)
def _travels(items: Items) -> bool:
    """Return whether a data set can be handed to other processes; say once why it cannot."""
    try:
        pickle.dumps(items)
    except Exception as error:  # noqa: BLE001 - a class of the user's own may raise anything
        log.warning(
            f"data: the {items.part} data set cannot be handed to the processes that decode ({_line(error)}), so "
            "images are decoded without, which is slower; keep lambdas, open files and local classes out of it"
        )
        return False
    return True


class Label(NamedTuple):
    """An item's label: a class, or for each class whether the item has it."""

    value: int | tuple[int, ...]

    @classmethod
    def of(cls, label: Any, where: str) -> Label:
        """Return what an item gives as a label.

        Raises:
            DataError: It is none.
        """
        plain = label.tolist() if isinstance(label, Tensor | np.ndarray | np.generic) else label
        if isinstance(plain, int) and plain >= 0:
            return cls(int(plain))
        if isinstance(plain, list | tuple) and plain and all(each in (0, 1) for each in plain):
            return cls(tuple(map(int, plain)))
        raise DataError(
            f"data: {where} has the label {_short(plain)}; give an int from 0 to K - 1, or K numbers 0 or 1 where an "
            "image has any number of K classes"
        )


def _from_pillow(image: Images.Image, where: str, size: int | None, fit: Fit, white: int | None, exif: bool) -> Tensor:
    try:
        return square(image, where, size, fit, white, exif)
    except DataError:
        raise
    except Exception as error:  # as for files: decoders raise whatever they come upon
        raise DataError(f"data: {where} is no whole image ({_line(error)}); mend it, or take it out") from error


def _as_bytes(image: Any, where: str) -> Tensor:
    """Return a tensor (C, H, W), or an array (H, W, C), or either without C, as (C, H, W) uint8."""
    if not isinstance(image, Tensor | np.ndarray):
        raise DataError(
            f"data: {where} has an image of type {type(image).__name__}; give a PIL image, a tensor or an array"
        )
    last = isinstance(image, np.ndarray)
    values = torch.as_tensor(image)
    if values.ndim == 2:
        values, last = values[None], False
    kind = "an array (H, W, C)" if last else "a tensor (C, H, W)"
    if values.ndim != 3 or values.shape[-1 if last else 0] > MOST_CHANNELS >= values.shape[0 if last else -1]:
        raise DataError(f"data: {where} has an image of shape {tuple(image.shape)}; give {kind}")
    values = values.permute(2, 0, 1) if last else values
    if values.dtype == torch.uint8:
        return values.contiguous()
    if not values.is_floating_point():
        raise DataError(f"data: {where} has an image of {values.dtype}; give uint8, or float in [0, 1]")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"data: {where} has a float image from {low:.4g} to {high:.4g}, which must be in [0, 1]; leave out what "
            "normalises it: networks do so themselves, by TrainTest(..., mean=, std=)"
        )
    return (values.double() * 255).round().to(torch.uint8).contiguous()


def _scaled(image_CHW: Tensor, size: int, fit: Fit) -> Tensor:
    height, width = image_CHW.shape[1:]
    if (height, width) == (size, size):
        return image_CHW
    if fit == "crop":
        side = min(height, width)
        top, left = round((height - side) / 2), round((width - side) / 2)
        image_CHW = image_CHW[:, top : top + side, left : left + side]
    scaled = functional.interpolate(image_CHW[None].double(), (size, size), mode="bilinear", antialias=True)[0]
    return scaled.round().clamp(0, 255).to(torch.uint8)


def _raised(error: Exception) -> str:
    return f"raised {type(error).__name__}: {_line(error)}" if str(error) else f"raised {type(error).__name__}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _told(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
