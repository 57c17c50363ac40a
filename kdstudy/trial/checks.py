"""Builds every part of a study once without training, to find what cannot work before anything is paid for it.

Each check looks at one part and notes all that is wrong with it; what needs a part that could not be had is silent.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdstudy.data import Dataset, count_views
from kdstudy.errors import DataError, KdstudyError, ModelError, PluginError
from kdstudy.layerwise import layer_sizes
from kdstudy.models import NORMALISE, fit_weights, read_weights
from kdstudy.study import PluginSpec, TrialConfig, show
from kdstudy.training import schedule
from kdstudy.trial.build import (
    TrialNetworks,
    build_instrument,
    build_policy,
    build_transfer,
    dataset_of,
    networks,
    teacher_spec,
)

CPU = torch.device("cpu")


class Fault(NamedTuple):
    """One thing that is wrong.

    Attributes:
        path: Key of the study file that it stands under.
        error: What was raised; its text may begin with a key path of its own.
    """

    path: str
    error: Exception


@dataclass
class Inspection:
    """What has been built of a study, and what was wrong.

    Args:
        configs: Trials of the study, all of one teacher and data set: the corners of its arms, say.
        teacher_file: Whether the teacher's file will be read; not where the store has the teacher.
        faults: What was found.
        awaited: Why the data are not there yet, where they may be downloaded.
        data: The data set; None before, or where it cannot be had.
        teacher: The teacher's network, untrained; likewise.
    """

    configs: Sequence[TrialConfig]
    teacher_file: bool = True
    faults: list[Fault] = field(default_factory=list)
    awaited: DataError | None = None
    data: Dataset | None = None
    teacher: nn.Module | None = None
    _networks: dict[str, TrialNetworks | None] = field(default_factory=dict)

    @contextlib.contextmanager
    def noting(self, path: str, *plugins: PluginSpec | str) -> Iterator[None]:
        """Note what is raised; what a plug-in of the user's own raises, too, whatever it is."""
        try:
            yield
        except KdstudyError as error:
            self.faults.append(Fault(path, error))
        except Exception as error:
            own = [name for name in map(_name_of, plugins) if ":" in name]
            if not own:
                raise
            given = [spec.options for spec in plugins if isinstance(spec, PluginSpec) and spec.name == own[-1]]
            told = PluginError(
                f"'{own[-1]}'{f' with {show(given[0])}' if given and given[0] else ''} raised {type(error).__name__}: "
                f"{' '.join(str(error).split())}; mend it (--debug shows where)"
            )
            told.__cause__ = error
            self.faults.append(Fault(path, told))

    def networks(self, config: TrialConfig) -> TrialNetworks | None:
        """Return the networks of a trial, matched; None where they cannot be had, which is noted once."""
        model = config.student.model
        key = repr(model)
        if key not in self._networks and self.data is not None and self.teacher is not None:
            self._networks[key] = None
            with self.noting("student.model", config.teacher.model, model):
                built = networks(config, self.data, self.teacher, CPU)
                self._networks[key] = built
                if built.teacher is not None:
                    built.teacher.release()  # the next student's are other layers
        return self._networks.get(key)


def check_data(found: Inspection) -> None:
    """Load the data set: present, whole, large enough, of a shape. No image is decoded, nothing downloaded."""
    config = found.configs[0]
    with found.noting("data", config.data.name):
        try:
            found.data = dataset_of(config, with_test=False, decoded=False, download=False)
        except DataError as error:
            if not config.data.download:
                raise
            found.awaited = error
            return
        if config.cache.mode == "all_views":
            count_views(found.data.augmentation)


def check_teacher(found: Inspection) -> None:
    """Build the teacher's network, and fit its file to it if it is loaded."""
    config, data = found.configs[0], found.data
    if data is None:
        return
    model = config.teacher.model
    with found.noting("teacher.model", model):
        found.teacher = teacher_spec(config, data).build(seed=0)
    if found.teacher is None or config.teacher.path is None or not found.teacher_file:
        return
    with found.noting("teacher.path", model):
        weights = read_weights(Path(config.teacher.path))
        try:
            fit_weights(found.teacher, weights, config.teacher.key_map, where=config.teacher.path)
        except ModelError as error:
            _tell_other_classes(config.teacher.path, weights, found.teacher.state_dict(), data.num_classes)
            raise error from None


def check_layers(found: Inspection) -> None:
    """Build every student that may be drawn, and match its crucial layers with the teacher's."""
    for config in found.configs:
        found.networks(config)


def check_arms(found: Inspection) -> None:
    """Have every transfer, policy and schedule take its options."""
    seen: set[str] = set()
    for config in found.configs:
        built = found.networks(config)
        parts = repr((config.student, config.transfer, config.policy, config.train.schedule))
        if built is None or found.data is None or parts in seen:
            continue
        seen.add(parts)
        _build_arm(found, config, built, found.data)


def _build_arm(found: Inspection, config: TrialConfig, built: TrialNetworks, data: Dataset) -> None:
    train, transfer, model = config.train, config.transfer, config.student.model
    with found.noting("train.schedule", train.schedule):
        schedule(train.schedule.name, train.schedule.options, train.epochs)(0.0)
    before = len(found.faults)
    with found.noting(f"arms.transfers.{transfer.called}", model, transfer):
        build_transfer(transfer.name, transfer.options, built.context, seed=config.init_seed)
    if len(found.faults) > before:
        return
    with found.noting(f"arms.policies.{config.policy.called}", model, transfer, config.policy):
        sizes = layer_sizes(built.student.module, built.context.layers, data.image_shape)
        policy = build_policy(config, built.context.layers, sizes)
        if any(policy.due(epoch, train.epochs) for epoch in range(1, train.epochs + 1)):
            build_instrument(config, policy, built.context)


CHECKS: tuple[Callable[[Inspection], None], ...] = (check_data, check_teacher, check_layers, check_arms)
"""All of them, in this order."""


def inspect_parts(configs: Sequence[TrialConfig], *, teacher_file: bool = True) -> Inspection:
    """Run every check over some trials of a study; see `Inspection`."""
    found = Inspection(configs, teacher_file)
    for check in CHECKS:
        check(found)
    return found


def _name_of(plugin: PluginSpec | str) -> str:
    return plugin if isinstance(plugin, str) else plugin.name


def _tell_other_classes(where: str, weights: Mapping[str, Tensor], own: Mapping[str, Tensor], classes: int) -> None:
    """Say it where a file differs from its network in the number of classes alone, whatever its tensors are called.

    Raises:
        ModelError: It does.
    """
    theirs, ours = _shapes(weights), _shapes(own)
    surplus, missing = list((theirs - ours).elements()), list((ours - theirs).elements())
    counts = {shape[0] for shape in surplus if shape}
    heads = missing and all(shape and shape[0] == classes for shape in missing)
    if heads and len(counts) == 1 and sorted(s[1:] for s in surplus) == sorted(s[1:] for s in missing):
        raise ModelError(
            f"teacher.path: {where} is of a network with {counts.pop()} classes, the data have {classes}; give weights "
            "that were trained on these classes (replace the last layer and fine-tune it first), or train the teacher "
            "here with teacher.epochs"
        )


def _shapes(tensors: Mapping[str, Tensor]) -> Counter[tuple[int, ...]]:
    kept = (name for name in tensors if not name.startswith(f"{NORMALISE}.") and not name.endswith("_tracked"))
    return Counter(tuple(tensors[name].shape) for name in kept)
