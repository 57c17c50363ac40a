"""Images that stay where they are until they are used, for data sets that may not fit in memory.

Whether a data set is decoded once and kept, or decoded anew for each batch, changes no number: an image is always the
same uint8 tensor, and everything random happens later, on the training device.

Shapes: N images, B of a batch, C channels, H and W of an image.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing.context import ForkServerContext
from typing import TYPE_CHECKING, Annotated, Any, Self

import torch
from annotated_types import Ge
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kdstudy.data.shared_memory import PREFETCH, SHARED, free_bytes, shortage, workers_that_fit
from kdstudy.errors import DataError

if TYPE_CHECKING:
    from hashlib import _Hash

log = logging.getLogger(__name__)

Side = Annotated[int, Ge(8)]
Gigabytes = Annotated[float, Ge(0)]
Workers = Annotated[int, Ge(0)]

GIGABYTE = 10**9
FINGERPRINT_BYTES = 2 * GIGABYTE
"""Up to here a fingerprint covers every byte, above it a part of them."""
LOADER_SECONDS = 600.0
"""How long a batch may take to come from the processes that decode, their start included."""


class StoredImages(ABC):
    """Images that answer as a (N, C, H, W) uint8 tensor does; what is asked for is decoded.

    Attributes:
        memory: Keep the decoded images in memory if those of all splits together are at most so many bytes.
        workers: Processes that decode batches while the network trains, >= 0; never more than there are cores, or
            than shared memory holds the batches of.
    """

    memory: float
    workers: int

    @property
    @abstractmethod
    def shape(self) -> torch.Size:
        """Of the tensor that all images together would be."""

    @abstractmethod
    def take(self, indices: Tensor) -> Self:
        """Return the images at ``indices``, in that order."""

    @abstractmethod
    def add_to(self, digest: _Hash) -> None:
        """Add to a running hash what differs where the images, their order or their preparation do."""

    @abstractmethod
    def _places(self) -> Mapping[Any, list[int]]:
        """Return what is read at once, each with the places of its images."""

    @abstractmethod
    def _read(self, what: Any, places: list[int]) -> Tensor:
        """Return the images of what is read at once, (places, C, H, W); or one that all of its places share."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Decode the images at ``indices`` (B,), now and in this process."""
        taken = self.take(indices)
        return taken._filled((places, taken._read(what, places)) for what, places in taken._places().items())

    @property
    def nbytes(self) -> int:
        """Size of the tensor of all images."""
        return self.shape.numel()

    def to(self, device: torch.device | str) -> Self:
        """Return itself: what is not decoded is on no device."""
        return self

    def decoded(self) -> Tensor:
        """Decode all images.

        Raises:
            DataError: One cannot be read.
        """
        return self._filled(self._read_all())

    def verify(self) -> None:
        """Decode all images once and keep none.

        Raises:
            DataError: One cannot be read.
        """
        for _ in self._read_all():
            pass

    def shortage(self, batch: int) -> str | None:
        """Return a line about batches of so many images that shared memory cannot hold; None where it can."""
        return shortage(usable(self.workers), self._bytes_of(batch))

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
            DataError: One cannot be read.
        """
        wanted, batch_bytes = usable(self._processes()), self._bytes_of(max(map(len, chunks), default=0))
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
            multiprocessing_context=_fork_server(changing=change is not None) if workers else None,
            timeout=LOADER_SECONDS if workers else 0,
            generator=torch.Generator(),
        )  # else it would draw from torch's global stream, which dropout uses
        for images in _within_limit(loader):
            if isinstance(images, DataError):
                raise images
            yield images.to(device, non_blocking=True)

    def _processes(self) -> int:
        """Return how many processes may decode."""
        return self.workers

    def _read_all(self) -> Iterator[tuple[list[int], Tensor]]:
        """Yield all images, as `_read` gives them, each with their places."""
        for what, places in self._places().items():
            yield places, self._read(what, places)

    def _filled(self, found: Iterable[tuple[list[int], Tensor]]) -> Tensor:
        images = torch.empty(self.shape, dtype=torch.uint8)
        for places, decoded in found:
            images[places] = decoded
        return images

    def _bytes_of(self, images: int) -> int:
        return images * self.shape[1:].numel()


class _Chunks(Dataset[Tensor]):
    """Decodes a list of indices at a time; an error travels as a value, so that it stays one line."""

    def __init__(self, images: StoredImages, change: Callable[[Tensor, Tensor], Tensor] | None) -> None:
        self._images, self._change = images, change

    def __getitem__(self, indices: Sequence[int]) -> Tensor:
        try:
            chosen = torch.as_tensor(indices)
            images = self._images[chosen]
            return images if self._change is None else self._change(images, chosen)
        except DataError as error:
            return error  # type: ignore[return-value]


def usable(workers: int) -> int:
    """Return how many of so many workers have a core of their own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(workers, cores)


def _fork_server(*, changing: bool) -> ForkServerContext:
    """Return a way to start workers that is quick and safe: by fork, from a process without threads of Python's.

    What takes long to import, that process imports once, and not every worker of every epoch.

    Args:
        changing: Whether the workers augment.
    """
    context = multiprocessing.get_context("forkserver")
    slow = {"datasets": "datasets" in sys.modules, "kdstudy.data.torchvision_v2": changing}
    needed = [name for name, used in slow.items() if used]
    context.set_forkserver_preload(["kdstudy.data.files", "kdstudy.data.named", *needed])  # nothing, once it has begun
    return context


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
