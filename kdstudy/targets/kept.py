"""The teacher's observations, kept once for all trials that would compute the same.

``schedule``: one file an epoch, one row a step. The teacher sees the very batches and directions that the trials see,
so what is read is, in float32, bit for bit what would have been computed. It serves the trials of one data seed.

``views``: one file a view, one row an image. The batches of any trial of one data seed are gathered from it; only for
methods whose observation of an image depends on nothing but the image.

Shapes: S steps, B samples of a batch, N images of the split; what follows is the method's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdstudy.assembly import training_batches, view_of
from kdstudy.data import Dataset, num_batches, view_batches
from kdstudy.network import Network
from kdstudy.study import TrialConfig
from kdstudy.targets.shelf import Shelf, Tensors
from kdstudy.training.checkpoint import weights_sha256
from kdstudy.training.numerics import describe_numerics
from kdstudy.training.seeding import generator
from kdstudy.training.targets import LiveTargets, Targets
from kdstudy.transfer.base import Batch, Observation, Transfer, TransferContext

VIEW_BATCH = 512
"""Images the teacher sees at once where the order of a trial's batches does not matter."""


@dataclass(frozen=True)
class Teaching:
    """Everything the teacher's observations depend on.

    Args:
        config: The trial.
        data: Its data set.
        teacher: Frozen, in eval mode.
        transfer: The method that observes it.
        context: What the method was built from.
        device: Where the teacher runs.
    """

    config: TrialConfig
    data: Dataset
    teacher: Network
    transfer: Transfer
    context: TransferContext
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """Type in which observations are kept: derivatives are not rounded."""
        half = self.config.cache.dtype == "float16" and not self.transfer.directed
        return torch.float16 if half else torch.float32

    @property
    def lasting(self) -> bool:
        """Whether the cache's mode is one under which this method's observations can be kept."""
        mode = self.config.cache.mode
        if self.transfer.indifferent is None:
            return False
        return mode == "schedule" or (mode == "views" and not self.transfer.directed)

    @property
    def files(self) -> int:
        """How many files a whole trial reads: one an epoch or one a view."""
        epochs, cache = self.config.train.epochs, self.config.cache
        return min(epochs, cache.views) if cache.mode == "views" else epochs

    @property
    def rows(self) -> int:
        """Rows of one file."""
        size = len(self.data.train)
        return size if self.config.cache.mode == "views" else num_batches(size, self.config.train.batch_size)

    @property
    def method(self) -> list[Any]:
        """The transfer method and those of its options that touch the observation."""
        free = self.transfer.indifferent or frozenset()
        spec = self.config.transfer
        return [spec.name, {name: value for name, value in spec.options.items() if name not in free}]

    def key(self) -> str:
        """Return a hash of all that decides a file's contents, but for its number."""
        config = self.config
        basis = {
            "teacher": [weights_sha256(self.teacher.module), config.teacher.model.to_yaml()],
            "data": [self.data.fingerprint, asdict(self.data.augmentation)],
            "method": self.method,
            "layers": [self.context.teacher_layers, self.context.student_shapes, self.context.teacher_shapes],
            "seed": config.data_seed,
            "batch": None if config.cache.mode == "views" else config.train.batch_size,
            "cache": [config.cache.mode, str(self.dtype)],
            "numerics": [describe_numerics(self.device), config.numerics.memory_format, config.numerics.teacher],
        }
        return hashlib.sha256(json.dumps(basis, sort_keys=True, default=str).encode()).hexdigest()[:16]

    @torch.no_grad()
    def observe(self, images: Tensor, draws: Any) -> Tensors:
        """Run the teacher and return its observation by name, in the type in which it is kept."""
        found = self.transfer.observe(self.teacher, images, draws)
        parts = {"logits": found.logits} | {f"map{j}": each for j, each in enumerate(found.maps)}
        return {name: part.to(self.dtype) for name, part in parts.items()}

    def row_bytes(self) -> int:
        """Return the size of one row, from one run of the teacher."""
        images, _, _ = next(self._images(1))
        found = self.observe(images, self.transfer.draw(images, generator(0, "directions")))
        size = sum(part.numel() * part.element_size() for part in found.values())
        return -(-size // len(images)) if self.config.cache.mode == "views" else size

    def file_bytes(self) -> int | None:
        """Return the size of one file; None where nothing is kept under this mode. Runs the teacher once."""
        return self.rows * self.row_bytes() if self.lasting else None

    def make(self, number: str) -> Tensors:
        """Run the teacher over one epoch, or one view of each image, and return what it gave, row by row."""
        epoch, size = int(number), len(self.data.train)
        if self.config.cache.mode == "views":
            parts = [self.observe(images, None) for images, _, _ in self._images(epoch)]
            return {name: torch.cat([part[name] for part in parts])[:size] for name in parts[0]}
        directions = generator(self.config.data_seed, "directions", epoch)
        parts = [self.observe(images, self.transfer.draw(images, directions)) for images, _, _ in self._images(epoch)]
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    def _images(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        if self.config.cache.mode != "views":
            return training_batches(self.config, self.data, self.device, epoch)
        return view_batches(
            self.data.train,
            batch_size=VIEW_BATCH,
            augmentation=self.data.augmentation,
            augment=generator(self.config.data_seed, "augment", epoch),
            device=self.device,
        )


class KeptTargets:
    """Reads the teacher's observations, and computes a file of them where it is missing.

    Args:
        teaching: What they depend on.
        shelf: Where they are kept.
    """

    def __init__(self, teaching: Teaching, shelf: Shelf) -> None:
        self._teaching, self._shelf = teaching, shelf
        self._rows: Tensors = {}

    def begin(self, epoch: int) -> None:
        """Open the epoch's file; while another process computes it, compute one of a later epoch."""
        config = self._teaching.config
        later = range(epoch + 1, config.train.epochs + 1)
        names = dict.fromkeys(_name(view_of(config, each)) for each in later)
        rows = self._shelf.get(_name(view_of(config, epoch)), self._teaching.make, ahead=names)
        # On an accelerator the whole file moves at once, so that no step waits for a copy.
        device = self._teaching.device
        self._rows = rows if device.type == "cpu" else {name: part.to(device) for name, part in rows.items()}

    def of(self, step: int, batch: Batch, draws: Any) -> Observation:
        """Return the rows of one batch, in float32."""
        by_image = self._teaching.config.cache.mode == "views"
        chosen = [part[batch.indices] if by_image else part[step].clone() for part in self._parts()]
        logits, *maps = (part.float() for part in chosen)
        return Observation(logits, tuple(maps))

    def _parts(self) -> list[Tensor]:
        return [self._rows["logits"], *(self._rows[f"map{j}"] for j in range(len(self._rows) - 1))]


def _name(epoch: int) -> str:
    return f"{epoch:05d}"


def targets_of(teaching: Teaching, cache: Path | None) -> Targets:
    """Return where a trial gets the teacher's observations from; its numbers do not depend on ``cache``.

    Args:
        teaching: What they depend on.
        cache: Folder of the study's shelves; None to keep nothing.
    """
    live = LiveTargets(
        teaching.teacher,
        teaching.transfer,
        teaching.dtype if teaching.lasting and teaching.dtype != torch.float32 else None,
    )
    if cache is None or not teaching.lasting:
        return live
    limit = teaching.config.cache.max_bytes
    shelf = Shelf(cache, teaching.key(), limit)
    if not shelf.trusted:
        return live
    if teaching.files * teaching.rows * shelf.note("row-bytes", teaching.row_bytes) > limit:
        return live
    return KeptTargets(teaching, shelf)
