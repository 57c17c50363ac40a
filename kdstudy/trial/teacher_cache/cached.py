"""Teacher outputs read from the cache, and computed once for all trials that would compute the same.

``schedule``: one file per epoch, one row per step. The teacher sees the very batches and directions that the trials
see, so what is read is, in float32, bit for bit what would have been computed. It serves the trials of one data seed.

``views``: one file per view, one row per image. The batches of any trial of one data seed are gathered from it; only
for methods whose observation of an image depends on nothing but the image.

``all_views``: likewise, of every view that augmentation can draw (162 of an image shifted by up to four pixels and
mirrored), for trials of any data seed; each sees the fresh views that it would have drawn. The teacher is given batches
as large as the trials', so that in float32 its outputs are bit for bit what would have been computed.

Shapes: S steps, B samples of a batch, N images of the split; what follows is the method's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from kdstudy.data import Dataset, count_views, num_batches, view_batches, views_drawn
from kdstudy.models import FeatureExtractor
from kdstudy.study import TrialConfig
from kdstudy.training import (
    BatchShare,
    LiveTeacherOutputs,
    TeacherOutputs,
    describe_numerics,
    generator,
    weights_sha256,
)
from kdstudy.transfer import Batch, Observation, Transfer, TransferContext
from kdstudy.trial.build import training_batches, view_of
from kdstudy.trial.teacher_cache.files import TensorFileCache, Tensors

VIEW_BATCH = 512
"""Images the teacher sees at once where the order of a trial's batches does not matter."""


@final
@dataclass(frozen=True)
class OutputsRecipe:
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
    teacher: FeatureExtractor
    transfer: Transfer
    context: TransferContext
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """Type in which observations are kept: derivatives are not rounded."""
        half = self.config.cache.dtype == "float16" and not self.transfer.needs_directions
        return torch.float16 if half else torch.float32

    @property
    def cacheable(self) -> bool:
        """Whether the cache's mode is one under which this method's observations can be kept."""
        if self.transfer.cache_neutral_options is None:
            return False
        return self.config.cache.mode == "schedule" or (self.by_image and not self.transfer.needs_directions)

    @property
    def by_image(self) -> bool:
        """Whether a file has one row per image, of one view, rather than one row per step."""
        return self.config.cache.mode in ("views", "all_views")

    @property
    def files(self) -> int:
        """How many files a whole trial reads: one per epoch or one per view.

        Raises:
            DataError: All views are asked for, and cannot be counted.
        """
        epochs, cache = self.config.train.epochs, self.config.cache
        if cache.mode == "all_views":
            return count_views(self.data.augmentation)
        return min(epochs, cache.views) if cache.mode == "views" else epochs

    @property
    def rows(self) -> int:
        """Rows of one file."""
        size = len(self.data.train)
        return size if self.by_image else num_batches(size, self.config.train.batch_size)

    @property
    def method(self) -> list[Any]:
        """The transfer method and those of its options that touch the observation."""
        free = self.transfer.cache_neutral_options or frozenset()
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
            "seed": None if config.cache.mode == "all_views" else config.data_seed,
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
        return -(-size // len(images)) if self.by_image else size

    def file_bytes(self) -> int | None:
        """Return the size of one file; None where nothing is kept under this mode. Runs the teacher once."""
        return self.rows * self.row_bytes() if self.cacheable else None

    def make(self, number: str) -> Tensors:
        """Run the teacher over one epoch, or one view of each image, and return what it gave, row by row."""
        epoch, size = int(number), len(self.data.train)
        if self.by_image:
            parts = [self.observe(images, None) for images, _, _ in self._images(epoch)]
            return {name: torch.cat([part[name] for part in parts])[:size] for name in parts[0]}
        directions = generator(self.config.data_seed, "directions", epoch)
        parts = [self.observe(images, self.transfer.draw(images, directions)) for images, _, _ in self._images(epoch)]
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    def views(self, epoch: int) -> Tensor:
        """Return which view of each image an epoch shows: (N,), as ``all_views`` numbers them, from 1."""
        stream = generator(self.config.data_seed, "augment", epoch)
        return 1 + views_drawn(len(self.data.train), self.data.augmentation, stream)

    def _images(self, number: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        if not self.by_image:
            return training_batches(self.config, self.data, self.device, number)
        every = self.config.cache.mode == "all_views"
        return view_batches(
            self.data.train,
            batch_size=min(self.config.train.batch_size, len(self.data.train)) if every else VIEW_BATCH,
            augmentation=self.data.augmentation,
            view=number - 1 if every else generator(self.config.data_seed, "augment", number),
            device=self.device,
        )


@final
class CachedTeacherOutputs:
    """Reads the teacher's observations, and computes a file of them where it is missing.

    Args:
        recipe: What they depend on.
        files: Where they are kept.
    """

    def __init__(self, recipe: OutputsRecipe, files: TensorFileCache) -> None:
        self._recipe, self._files = recipe, files
        self._rows: Tensors = {}

    def begin_epoch(self, epoch: int) -> None:
        """Open the epoch's file; while another process computes it, compute one of a later epoch."""
        config = self._recipe.config
        later = range(epoch + 1, config.train.epochs + 1)
        names = dict.fromkeys(_file_name(view_of(config, each)) for each in later)
        rows = self._files.get(_file_name(view_of(config, epoch)), self._recipe.make, ahead=names)
        # On an accelerator the whole file moves at once, so that no step waits for a copy.
        device = self._recipe.device
        self._rows = rows if device.type == "cpu" else {name: part.to(device) for name, part in rows.items()}

    def observation(self, step: int, batch: Batch, draws: Any) -> Observation:
        """Return the rows of one batch, in float32."""
        by_image = self._recipe.by_image
        return _observation(
            {k: part[batch.indices] if by_image else part[step].clone() for k, part in self._rows.items()}
        )


@final
class CachedViews:
    """Reads the teacher's observations of an epoch's views, and computes a view of all images where missing.

    Args:
        recipe: What they depend on.
        files: Where they are kept.
        live: Serves where the files cannot keep a file: each epoch asks for nearly all of them.
    """

    def __init__(self, recipe: OutputsRecipe, files: TensorFileCache, live: LiveTeacherOutputs) -> None:
        self._recipe, self._files, self._live = recipe, files, live
        self._keeps = True
        self._rows: Tensors = {}

    def begin_epoch(self, epoch: int) -> None:
        """Put together the rows of the epoch's views, one per image."""
        views_N = self._recipe.views(epoch)
        shown = [_file_name(view) for view in views_N.unique().tolist()]
        rows: Tensors = {}
        for place, name in enumerate(shown):
            if not self._keeps:
                return
            file = self._files.get(name, self._recipe.make, ahead=shown[place + 1 :])
            self._keeps = self._files.holds(name)
            chosen = (views_N == int(name)).nonzero().flatten()
            for key, part in file.items():
                rows.setdefault(key, torch.empty_like(part))[chosen] = part[chosen]
        self._rows = {key: part.to(self._recipe.device) for key, part in rows.items()}

    def observation(self, step: int, batch: Batch, draws: Any) -> Observation:
        """Return the rows of one batch, in float32."""
        if not self._keeps:
            return self._live.observation(step, batch, draws)
        return _observation({key: part[batch.indices] for key, part in self._rows.items()})


def _observation(rows: Tensors) -> Observation:
    maps = (rows[f"map{j}"] for j in range(len(rows) - 1))
    return Observation(rows["logits"].float(), tuple(each.float() for each in maps))


def _file_name(number: int) -> str:
    return f"{number:05d}"


def teacher_outputs(recipe: OutputsRecipe, cache: Path | None, share: BatchShare | None = None) -> TeacherOutputs:
    """Return where a trial gets the teacher's observations from; its numbers do not depend on ``cache``.

    Args:
        recipe: What they depend on.
        cache: Folder of the study's shelves; None to keep nothing.
        share: Of every batch, where ranks run the teacher together; what is cached, each reads whole.
    """
    live = LiveTeacherOutputs(
        recipe.teacher,
        recipe.transfer if share is None else share,
        recipe.dtype if recipe.cacheable and recipe.dtype != torch.float32 else None,
    )
    if cache is None or not recipe.cacheable:
        return live
    limit = recipe.config.cache.max_bytes
    files = TensorFileCache(cache, recipe.key(), limit)
    if not files.trusted:
        return live
    if recipe.files * recipe.rows * files.note("row-bytes", recipe.row_bytes) > limit:
        return live
    if recipe.config.cache.mode == "all_views":
        return CachedViews(recipe, files, live)
    return CachedTeacherOutputs(recipe, files)
