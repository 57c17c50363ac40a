"""Inputs of a trial that a pack can share: data set, teacher, batches, the teacher's outputs."""

from __future__ import annotations

import dataclasses
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, final

import torch
from torch import Tensor, nn

from kdstudy.data import Batch, Dataset
from kdstudy.models import FeatureExtractor, Layout, Output
from kdstudy.study import NumericsConfig, TrialConfig
from kdstudy.training import (
    ALONE,
    BatchShare,
    LiveTeacherOutputs,
    Ranks,
    TeacherOutputs,
    require_room,
    teacher_network,
)
from kdstudy.transfer import Observation, Transfer
from kdstudy.trial.build import TrialNetworks, dataset_of, training_batches
from kdstudy.trial.teacher_cache.cached import OutputsRecipe, teacher_outputs

Made = TypeVar("Made", Output, Observation)
CPU = torch.device("cpu")


def recipe_of(
    config: TrialConfig, data: Dataset, built: TrialNetworks, transfer: Transfer, device: torch.device
) -> OutputsRecipe | None:
    """Return what the teacher's outputs depend on in a trial; None where they are not used."""
    if built.teacher is None or not transfer.uses_teacher:
        return None
    built.teacher.module.eval()
    return OutputsRecipe(config, data, built.teacher, transfer, built.context, device)


class TrialInputs(ABC):
    """What a trial reads: its own (`OwnInputs`), or shared with the others of its pack (`SharedInputs`).

    Attributes:
        device: Where the trial trains, and where what it reads in its steps lies.
        ranks: That train it, seen from this one.
    """

    device: torch.device
    ranks: Ranks = ALONE

    @abstractmethod
    def dataset(self, config: TrialConfig, *, with_test: bool) -> Dataset:
        """Return the data set, its training images on the device."""

    @abstractmethod
    def wrap_teacher(
        self,
        module: nn.Module,
        layers: Sequence[str],
        numerics: NumericsConfig,
        image_shape: tuple[int, int, int],
        *,
        layouts: Mapping[str, Layout],
    ) -> FeatureExtractor:
        """Return the teacher in the arithmetic asked for: see `kdstudy.training.teacher_network`."""

    @abstractmethod
    def batches(self, config: TrialConfig, data: Dataset, epoch: int) -> Iterator[Batch]:
        """Yield the training batches of an epoch."""

    @abstractmethod
    def teacher_outputs(
        self, recipe: OutputsRecipe, cache: Path | None, share: BatchShare | None = None
    ) -> TeacherOutputs:
        """Return the teacher's outputs, step by step; those of whole batches, where ranks share them."""

    @abstractmethod
    def close(self) -> None:
        """Take the hooks off the teacher: it serves other trials too."""


@final
class OwnInputs(TrialInputs):
    """Inputs of a single trial.

    Args:
        device: Where it trains.
        ranks: That train it, seen from this one.
    """

    def __init__(self, device: torch.device = CPU, ranks: Ranks = ALONE) -> None:
        self.device, self.ranks = device, ranks
        self._teacher: FeatureExtractor | None = None

    def dataset(self, config: TrialConfig, *, with_test: bool) -> Dataset:
        """Load the data set, and move its training images to the device once, not in every epoch."""
        return _resident(config, dataset_of(config, with_test=with_test), self.device)

    def wrap_teacher(
        self,
        module: nn.Module,
        layers: Sequence[str],
        numerics: NumericsConfig,
        image_shape: tuple[int, int, int],
        *,
        layouts: Mapping[str, Layout],
    ) -> FeatureExtractor:
        """Wrap the teacher."""
        self._teacher = teacher_network(module, layers, numerics, image_shape, layouts=layouts)
        return self._teacher

    def batches(self, config: TrialConfig, data: Dataset, epoch: int) -> Iterator[Batch]:
        """Yield the training batches of an epoch."""
        return training_batches(config, data, self.device, epoch, self.ranks)

    def teacher_outputs(
        self, recipe: OutputsRecipe, cache: Path | None, share: BatchShare | None = None
    ) -> TeacherOutputs:
        """Return the outputs, computed or cached."""
        return teacher_outputs(recipe, cache, share)

    def close(self) -> None:
        """Take the hooks off the teacher."""
        if self._teacher is not None:
            self._teacher.release()


@final
class SharedInputs(TrialInputs):
    """Inputs of trials that take steps in turn in one process: each is made by the first that asks for it.

    Their data, data seed, batch size, teacher, layers and transfer method must be the same: see `kdstudy.trial.pack`.

    Args:
        device: Where they train.
    """

    def __init__(self, device: torch.device = CPU) -> None:
        self.device = device
        self._data: Dataset | None = None
        self._teacher: FeatureExtractor | None = None
        self._source: Iterator[Batch] = iter(())
        self._place = (0, 0)
        self._batch: _SharedBatch | None = None
        self._memory = _ImagesMemory()

    def dataset(self, config: TrialConfig, *, with_test: bool) -> Dataset:
        """Return the one data set."""
        if self._data is None:
            self._data = _resident(config, dataset_of(config, with_test=with_test), self.device)
        return self._data

    def wrap_teacher(
        self,
        module: nn.Module,
        layers: Sequence[str],
        numerics: NumericsConfig,
        image_shape: tuple[int, int, int],
        *,
        layouts: Mapping[str, Layout],
    ) -> FeatureExtractor:
        """Return the one teacher, which runs once over the same images."""
        if self._teacher is None:
            self._teacher = teacher_network(module, layers, numerics, image_shape, self._memory.get, layouts)
        return self._teacher

    def batches(self, config: TrialConfig, data: Dataset, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, each the same object for all that are in step."""
        for step in itertools.count():
            if self._place != (epoch, step):
                assert step == 0 or self._place == (epoch, step - 1), "the trials are not in step"
                if step == 0:
                    self._source = training_batches(config, data, self.device, epoch)
                found = next(self._source, None)
                self._place, self._batch = (epoch, step), None if found is None else _SharedBatch(found)
            if self._batch is None:
                return
            yield self._batch.get()

    def teacher_outputs(
        self, recipe: OutputsRecipe, cache: Path | None, share: BatchShare | None = None
    ) -> TeacherOutputs:
        """Return one observation per batch, where it is computed and known to be the same for all.

        Else it is each trial's own, made of the one pass of the teacher as far as that is a plain one.
        """
        own = teacher_outputs(recipe, cache, share)
        if not isinstance(own, LiveTeacherOutputs) or recipe.transfer.cache_neutral_options is None:
            return own
        return _SharedTeacherOutputs(own, self._memory, json.dumps(recipe.method, default=str))

    def close(self) -> None:
        """Take the hooks off the teacher."""
        if self._teacher is not None:
            self._teacher.release()


@final
class _SharedBatch:
    """A batch that several trials get one after another, whole even if a method writes into it."""

    def __init__(self, batch: Batch) -> None:
        self._batch, self._versions = batch, _versions(batch)
        self._spare = _copy(batch)

    def get(self) -> Batch:
        """Return the batch as it was made."""
        if _versions(self._batch) != self._versions:
            self._batch = _copy(self._spare)
            self._versions = _versions(self._batch)
        return self._batch


@final
class _ImagesMemory:
    """What has been made of the images seen last, as long as nobody writes into them or into what was made."""

    def __init__(self) -> None:
        self._images: Tensor | None = None
        self._version = 0
        self._made: dict[Hashable, tuple[Any, list[int]]] = {}

    def get(self, images: Tensor, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what ``make`` makes of the images, or has made of them before under this key."""
        if images is not self._images or images._version != self._version:
            self._images, self._version, self._made = images, images._version, {}
        if key in self._made:
            made: Made
            made, versions = self._made[key]
            if _versions((made[0], *made[1])) == versions:
                return made
        made = make()
        self._made[key] = made, _versions((made[0], *made[1]))
        return made


@final
class _SharedTeacherOutputs:
    """The teacher's observation of each batch, made once for all trials that ask for the same.

    Args:
        own: Makes it.
        memory: Holds it.
        method: The method and those of its options that touch the observation.
    """

    def __init__(self, own: TeacherOutputs, memory: _ImagesMemory, method: str) -> None:
        self._own, self._memory, self._method = own, memory, method

    def begin_epoch(self, epoch: int) -> None:
        """Nothing, as observations are made step by step."""

    def observation(self, step: int, batch: Batch, draws: Any) -> Observation:
        """Return it; ``draws`` are the same for all that are in step."""
        return self._memory.get(batch.images, self._method, lambda: self._own.observation(step, batch, draws))


def _resident(config: TrialConfig, data: Dataset, device: torch.device) -> Dataset:
    """Return the data set with its training images on the device, if they are in memory and its share holds them."""
    if device.type == "cuda" and isinstance(data.train.images, Tensor):
        needed = data.train.images.nbytes + data.train.labels.nbytes
        require_room(config.resources.gpus, needed, *torch.cuda.mem_get_info())
    return dataclasses.replace(data, train=data.train.to(device))


def _versions(tensors: Iterable[Any]) -> list[int]:
    """Return how often each tensor has been written into."""
    return [each._version for each in tensors if isinstance(each, Tensor)]


def _copy(batch: Batch) -> Batch:
    return Batch(*(each.clone() for each in batch))
