"""Images that stay in files until they are used, for data sets that may not fit in memory.

Whether a data set is decoded once and kept, or decoded anew for each batch, changes no number: a file always
gives the same uint8 image, and everything random happens later, on the training device.

Shapes: N files, B of a batch, S the side of an image.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kdstudy.data.decode import Fit, Window, decode, decode_windows, unreadable
from kdstudy.data.shared_memory import PREFETCH, SHARED, free_bytes, shortage, workers_that_fit
from kdstudy.errors import DataError

log = logging.getLogger(__name__)

Side = Annotated[int, Ge(8)]
Gigabytes = Annotated[float, Ge(0)]
Workers = Annotated[int, Ge(0)]
White = Annotated[int, Ge(256), Lt(2**31)] | None

CHANNELS = 3
GIGABYTE = 10**9
FINGERPRINT_BYTES = 2 * GIGABYTE
"""Up to here a fingerprint covers every byte of the files, above it their lengths and beginnings."""
BEGINNING = 4096
LOADER_SECONDS = 600.0
"""How long a batch may take to come from the processes that decode, their start included."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files, or squares cut out of them, that answer as a (N, 3, S, S) uint8 tensor does.

    What is asked for is decoded, each file once.

    Args:
        paths: The file of each image, of any format Pillow reads; grey ones become RGB. See `kdstudy.data.decode`.
        size: S, in pixels.
        fit: How an image becomes square: ``stretch`` keeps all of it, ``crop`` keeps the middle undistorted.
        memory: Keep the decoded images in memory if those of all splits together are at most so many bytes.
        workers: Processes that decode batches while the network trains, >= 0; never more than there are cores, or
            than shared memory holds the batches of.
        white: Level that is white in grey of more than eight bits; None for what the file says, which is 65535 in most.
        windows: What is cut out of the file for each image; empty where images are whole.
    """

    paths: tuple[str, ...]
    size: int
    fit: Fit
    memory: float
    workers: int
    white: int | None = None
    windows: tuple[Window, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Decode the images at ``indices`` (B,), now and in this process."""
        return self.take(indices)._decode_all(threads=1)

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
        """Return the images at ``indices``, in that order."""
        places = indices.tolist()
        windows = tuple(self.windows[i] for i in places) if self.windows else ()
        return replace(self, paths=tuple(self.paths[i] for i in places), windows=windows)

    def decoded(self) -> Tensor:
        """Decode all images.

        Raises:
            DataError: A file cannot be read.
        """
        return self._decode_all(threads=max(_usable(self.workers), 1))

    def verify(self) -> None:
        """Decode all images once and keep none.

        Raises:
            DataError: A file cannot be read.
        """
        with ThreadPoolExecutor(max(_usable(self.workers), 1)) as pool:
            for _ in pool.map(self._decode, self._places().items()):
                pass

    def shortage(self, batch: int) -> str | None:
        """Return a line about batches of so many images that shared memory cannot hold; None where it can."""
        return shortage(_usable(self.workers), self._bytes_of(batch))

    def stream(
        self,
        chunks: Sequence[Tensor],
        device: torch.device | str,
        change: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Iterator[Tensor]:
        """Yield the images of each chunk of indices on ``device``, decoded ahead by the workers.

        Args:
            chunks: Indices.
            device: Where the images are wanted.
            change: What the workers make of images and their indices; None for what they are.

        Raises:
            DataError: A file cannot be read.
        """
        wanted, batch_bytes = _usable(self.workers), self._bytes_of(max(map(len, chunks), default=0))
        workers = workers_that_fit(wanted, batch_bytes)
        if workers < wanted:
            _warn(wanted, batch_bytes)
        loader = DataLoader(
            _Chunks(self, change),
            sampler=[chunk.tolist() for chunk in chunks],
            batch_size=None,
            num_workers=workers,
            pin_memory=torch.device(device).type == "cuda",
            prefetch_factor=PREFETCH if workers else None,
            multiprocessing_context=_fork_server() if workers else None,
            timeout=LOADER_SECONDS if workers else 0,
            generator=torch.Generator(),
        )  # else it would draw from torch's global stream, which dropout uses
        for images in _within_limit(loader):
            if isinstance(images, DataError):
                raise images
            yield images.to(device, non_blocking=True)

    def digest(self) -> str:
        """Return a SHA-256, in hex, of the files' contents, order and preparation; never of their names."""
        told = "" if self.white is None else f" {self.white}"
        found = hashlib.sha256(f"{self.fit} {self.size} {len(self.paths)}{told}".encode())
        files = self.paths
        if self.windows:
            places = self._places()
            files = tuple(places)
            found.update(json.dumps([list(places.values()), self.windows]).encode())
        try:
            lengths = [Path(path).stat().st_size for path in files]
            whole = sum(lengths) <= FINGERPRINT_BYTES
            for path, length in zip(files, lengths, strict=True):
                found.update(length.to_bytes(8, "big"))
                with Path(path).open("rb") as file:
                    found.update(file.read() if whole else file.read(BEGINNING))
        except OSError as error:
            raise DataError(unreadable(error.filename, error)) from error
        return found.hexdigest()

    def _bytes_of(self, images: int) -> int:
        return images * CHANNELS * self.size**2

    def _places(self) -> dict[str, list[int]]:
        """Return the files, each with the places of its images."""
        places: dict[str, list[int]] = {}
        for place, path in enumerate(self.paths):
            places.setdefault(path, []).append(place)
        return places

    def _decode(self, file: tuple[str, list[int]]) -> Tensor:
        """Return the images of one file, (places, 3, S, S); or one that all of its places share."""
        path, places = file
        if self.windows:
            return decode_windows(path, [self.windows[place] for place in places], self.size, self.white)
        return decode(path, self.size, self.fit, self.white)[None]

    def _decode_all(self, *, threads: int) -> Tensor:
        images = torch.empty(self.shape, dtype=torch.uint8)
        files = self._places()
        if threads == 1:
            for file in files.items():
                images[file[1]] = self._decode(file)
            return images
        with ThreadPoolExecutor(threads) as pool:  # Pillow decodes and resizes without the interpreter's lock
            for places, decoded in zip(files.values(), pool.map(self._decode, files.items()), strict=True):
                images[places] = decoded
        return images


class _Chunks(Dataset[Tensor]):
    """Decodes a list of indices at a time; an error travels as a value, so that it stays one line."""

    def __init__(self, files: ImageFiles, change: Callable[[Tensor, Tensor], Tensor] | None) -> None:
        self._files, self._change = files, change

    def __getitem__(self, indices: Sequence[int]) -> Tensor:
        try:
            chosen = torch.as_tensor(indices)
            images = self._files[chosen]
            return images if self._change is None else self._change(images, chosen)
        except DataError as error:
            return error  # type: ignore[return-value]


@functools.cache
def _fork_server() -> ForkServerContext:
    """Return a way to start workers that is quick and safe: by fork, from a process without threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "kdstudy.data.named"])
    return context


def _usable(workers: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(workers, cores)


@functools.cache
def _warn(workers: int, batch_bytes: int) -> None:
    """Say once what does not fit."""
    log.warning(shortage(workers, batch_bytes))


def _within_limit(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield what the loader gives; an error instead of waiting for ever for processes that may have failed."""
    batches = iter(loader)
    while True:
        try:
            found = next(batches, None)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader"):
                raise
            free = free_bytes()
            room = "" if free is None else f", {SHARED} has {free / 1e6:.0f} MB free"
            raise DataError(
                f"data: the processes that decode images gave none ({' '.join(str(error).split())[:200]}{room}); "
                "give them more memory, or write data.options.workers: 0"
            ) from error
        if found is None:
            return
        yield found
