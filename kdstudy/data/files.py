"""Images that stay in files until they are used, for data sets that may not fit in memory.

Whether a data set is decoded once and kept, or decoded anew for each batch, changes no number: a file always
gives the same uint8 image, and everything random happens later, on the training device.

Shapes: N files, B of a batch, S the side of an image.
"""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kdstudy.errors import DataError

Fit = Literal["stretch", "crop"]
Side = Annotated[int, Ge(8)]
Gigabytes = Annotated[float, Ge(0)]
Workers = Annotated[int, Ge(0)]

CHANNELS = 3
GIGABYTE = 10**9
FINGERPRINT_BYTES = 2 * GIGABYTE
"""Up to here a fingerprint covers every byte of the files, above it their lengths and beginnings."""
BEGINNING = 4096
PREFETCH = 2


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files that answer as a (N, 3, S, S) uint8 tensor does, decoding what is asked for.

    Args:
        paths: One file an image, of any format Pillow reads; grey ones become RGB.
        size: S, in pixels.
        fit: How an image becomes square: ``stretch`` keeps all of it, ``crop`` keeps the middle undistorted.
        memory: Keep the decoded images in memory if those of all splits together are at most so many bytes.
        workers: Processes that decode batches while the network trains, >= 0; never more than there are
            cores.
    """

    paths: tuple[str, ...]
    size: int
    fit: Fit
    memory: float
    workers: int

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Decode the images at ``indices`` (B,), now and in this process."""
        return _decode_all([self.paths[i] for i in indices.tolist()], self.size, self.fit, threads=1)

    @property
    def shape(self) -> torch.Size:
        """Of the tensor that all images together would be."""
        return torch.Size((len(self.paths), CHANNELS, self.size, self.size))

    @property
    def nbytes(self) -> int:
        """Size of that tensor."""
        return self.shape.numel()

    def to(self, device: torch.device | str) -> ImageFiles:
        """Return itself: files are on no device."""
        return self

    def take(self, indices: Tensor) -> ImageFiles:
        """Return the files at ``indices``, in that order."""
        return replace(self, paths=tuple(self.paths[i] for i in indices.tolist()))

    def decoded(self) -> Tensor:
        """Decode all images.

        Raises:
            DataError: A file cannot be read.
        """
        return _decode_all(self.paths, self.size, self.fit, threads=max(_usable(self.workers), 1))

    def stream(self, chunks: Sequence[Tensor], device: torch.device | str) -> Iterator[Tensor]:
        """Yield the images of each chunk of indices on ``device``, decoded ahead by the workers.

        Raises:
            DataError: A file cannot be read.
        """
        workers = _usable(self.workers)
        loader = DataLoader(
            _Chunks(self),
            sampler=[chunk.tolist() for chunk in chunks],
            batch_size=None,
            num_workers=workers,
            pin_memory=torch.device(device).type == "cuda",
            prefetch_factor=PREFETCH if workers else None,
            multiprocessing_context=_fork_server() if workers else None,
            generator=torch.Generator(),
        )  # else it would draw from torch's global stream, which dropout uses
        for images in loader:
            if isinstance(images, DataError):
                raise images
            yield images.to(device, non_blocking=True)

    def digest(self) -> str:
        """Return a SHA-256, in hex, of the files' contents, order and preparation; never of their names."""
        found = hashlib.sha256(f"{self.fit} {self.size} {len(self.paths)}".encode())
        try:
            lengths = [Path(path).stat().st_size for path in self.paths]
            whole = sum(lengths) <= FINGERPRINT_BYTES
            for path, length in zip(self.paths, lengths, strict=True):
                found.update(length.to_bytes(8, "big"))
                with Path(path).open("rb") as file:
                    found.update(file.read() if whole else file.read(BEGINNING))
        except OSError as error:
            raise DataError(_unreadable(error.filename, error)) from error
        return found.hexdigest()


class _Chunks(Dataset[Tensor]):
    """Decodes a list of indices at a time; an error travels as a value, so that it stays one line."""

    def __init__(self, files: ImageFiles) -> None:
        self._files = files

    def __getitem__(self, indices: Sequence[int]) -> Tensor:
        try:
            return self._files[torch.as_tensor(indices)]
        except DataError as error:
            return error  # type: ignore[return-value]


@functools.cache
def _fork_server() -> ForkServerContext:
    """Return a way to start workers that is quick and safe: by fork, from a process without threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _usable(workers: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(workers, cores)


def _decode_all(paths: Sequence[str], size: int, fit: Fit, *, threads: int) -> Tensor:
    images = torch.empty((len(paths), CHANNELS, size, size), dtype=torch.uint8)

    def put(place: int) -> None:
        images[place] = decode(paths[place], size, fit)

    if threads == 1:
        for place in range(len(paths)):
            put(place)
    else:
        with ThreadPoolExecutor(threads) as pool:  # Pillow decodes and resizes without the interpreter's lock
            for _ in pool.map(put, range(len(paths))):
                pass
    return images


def decode(path: str, size: int, fit: Fit) -> Tensor:
    """Read one image as (3, size, size) uint8, reduced with antialiasing.

    A JPEG much larger than needed is decoded at a fraction of its size, at least twice ``size``: several
    times faster, with a difference that the reduction hides.

    Raises:
        DataError: The file cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (2 * size, 2 * size))
            image = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(_unreadable(path, error)) from error
    if fit == "crop":
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    else:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _unreadable(path: str, error: Exception) -> str:
    reason = (error.strerror if isinstance(error, OSError) else None) or "not a whole image that Pillow reads"
    return f"data: {path} cannot be read ({reason}); put the file in place or take it out of the data set"
