"""Where a trial gets what others may use as well: images, teacher, batches, the teacher's observations."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from kdstudy.data import Dataset
from kdstudy.models import Network, Output
from kdstudy.study import NumericsConfig, TrialConfig
from kdstudy.training import LiveTargets, Targets, teacher_network
from kdstudy.transfer import Batch, Observation, TransferContext
from kdstudy.trial.build import Images, dataset_of, networks, training_batches
from kdstudy.trial.teacher_cache.cached import Teaching, targets_of

Seen = TypeVar("Seen", Output, Observation)


class Sources:
    """All of it for one trial alone."""

    def __init__(self) -> None:
        self._teacher: Network | None = None

    def dataset(self, config: TrialConfig, device: torch.device, *, with_test: bool) -> Dataset:
        """Load the data set, its training images moved to the device once, not in every epoch."""
        data = dataset_of(config, with_test=with_test)
        return dataclasses.replace(data, train=data.train.to(device))

    def networks(
        self, config: TrialConfig, data: Dataset, teacher: nn.Module | None, device: torch.device
    ) -> tuple[Network, Network | None, TransferContext]:
        """Build the student and wrap the teacher: see `kdstudy.trial.build.networks`."""
        return networks(config, data, teacher, device, self.wrapped)

    def wrapped(
        self, module: nn.Module, layers: Sequence[str], numerics: NumericsConfig, image_shape: tuple[int, int, int]
    ) -> Network:
        """Wrap the teacher in the arithmetic asked for."""
        self._teacher = teacher_network(module, layers, numerics, image_shape)
        return self._teacher

    def batches(self, config: TrialConfig, data: Dataset, device: torch.device, epoch: int) -> Iterator[Images]:
        """Yield the batches of an epoch."""
        return training_batches(config, data, device, epoch)

    def targets(self, teaching: Teaching, cache: Path | None) -> Targets:
        """Return where the teacher's observations come from."""
        return targets_of(teaching, cache)

    def release(self) -> None:
        """Take the hooks off the teacher: it serves other trials too."""
        if self._teacher is not None:
            self._teacher.release()


class SharedSources(Sources):
    """All of it for trials of one process that are in step: each thing is made by the first that asks for it.

    Their data, data seed, batch size, teacher, layers and transfer method must be the same: see `kdstudy.trial.pack`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._data: Dataset | None = None
        self._source: Iterator[Images] = iter(())
        self._place = (0, 0)
        self._batch: _Lent | None = None
        self._memory = _Memory()

    def dataset(self, config: TrialConfig, device: torch.device, *, with_test: bool) -> Dataset:
        """Return the one data set."""
        if self._data is None:
            self._data = super().dataset(config, device, with_test=with_test)
        return self._data

    def wrapped(
        self, module: nn.Module, layers: Sequence[str], numerics: NumericsConfig, image_shape: tuple[int, int, int]
    ) -> Network:
        """Return the one teacher, which looks at the same images once."""
        if self._teacher is None:
            plain = super().wrapped(module, layers, numerics, image_shape)
            plain.release()
            self._teacher = _RememberingNetwork(plain, self._memory)
        return self._teacher

    def batches(self, config: TrialConfig, data: Dataset, device: torch.device, epoch: int) -> Iterator[Images]:
        """Yield the batches of an epoch, each the same object for all that are in step."""
        for step in itertools.count():
            if self._place != (epoch, step):
                assert step == 0 or self._place == (epoch, step - 1), "they are not in step"
                if step == 0:
                    self._source = super().batches(config, data, device, epoch)
                found = next(self._source, None)
                self._place, self._batch = (epoch, step), None if found is None else _Lent(found)
            if self._batch is None:
                return
            yield self._batch.again()

    def targets(self, teaching: Teaching, cache: Path | None) -> Targets:
        """Return the one observation of each batch, where it is computed and known to be the same for all.

        Else it is each trial's own, made of the one pass of the teacher as far as that is a plain one.
        """
        own = super().targets(teaching, cache)
        if not isinstance(own, LiveTargets) or teaching.transfer.indifferent is None:
            return own
        return _SharedTargets(own, self._memory, json.dumps(teaching.method, default=str))


class _Lent:
    """A batch that several get one after another, whole even if a method writes into it."""

    def __init__(self, batch: Images) -> None:
        self._batch, self._written = batch, _written(batch)
        self._spare = _copy(batch)

    def again(self) -> Images:
        """Return the batch."""
        if _written(self._batch) != self._written:
            self._batch = _copy(self._spare)
            self._written = _written(self._batch)
        return self._batch


class _Memory:
    """What has been made of the images seen last, as long as nobody writes into them or into what was made."""

    def __init__(self) -> None:
        self._images: Tensor | None = None
        self._version = 0
        self._made: dict[Hashable, tuple[Any, list[int]]] = {}

    def of(self, images: Tensor, key: Hashable, make: Callable[[], Seen]) -> Seen:
        """Return what ``make`` makes of the images, or has made of them before under this key."""
        if images is not self._images or images._version != self._version:
            self._images, self._version, self._made = images, images._version, {}
        if key in self._made:
            seen: Seen
            seen, written = self._made[key]
            if _written((seen[0], *seen[1])) == written:
                return seen
        seen = make()
        self._made[key] = seen, _written((seen[0], *seen[1]))
        return seen


class _RememberingNetwork(Network):
    """A frozen network in eval mode that runs once over the same images.

    Args:
        network: Whose module and layers it has; its own hooks are off.
        memory: Holds what it gave.
    """

    def __init__(self, network: Network, memory: _Memory) -> None:
        super().__init__(network.module, network.layers, network.precision)
        self._memory = memory

    def __call__(self, images: Any, *, exact: bool = False) -> Output:
        """Run the network, or return what it gave before: for plain images, where no gradient is asked for."""
        if torch.is_grad_enabled() or not isinstance(images, Tensor):
            return super().__call__(images, exact=exact)
        run = super().__call__
        return self._memory.of(images, ("pass", exact), lambda: run(images, exact=exact))


class _SharedTargets:
    """The teacher's observation of each batch, made once for all that ask for the same.

    Args:
        own: Makes it.
        memory: Holds it.
        method: The method and those of its options that touch the observation.
    """

    def __init__(self, own: Targets, memory: _Memory, method: str) -> None:
        self._own, self._memory, self._method = own, memory, method

    def begin(self, epoch: int) -> None:
        """Nothing, as it is made step by step."""

    def of(self, step: int, batch: Batch, draws: Any) -> Observation:
        """Return it; ``draws`` are the same for all that are in step."""
        return self._memory.of(batch.images, self._method, lambda: self._own.of(step, batch, draws))


def _written(tensors: Iterable[Any]) -> list[int]:
    """Return how often each tensor has been written into."""
    return [each._version for each in tensors if isinstance(each, Tensor)]


def _copy(batch: Images) -> Images:
    images, labels, indices = (each.clone() for each in batch)
    return images, labels, indices
