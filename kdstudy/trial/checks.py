"""Builds every part of a study once without training, to find what cannot work before anything is paid for it.

Each check looks at one part and notes all that is wrong with it; what needs a part that could not be had is silent.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn

from kdstudy.data import Dataset, count_views, try_augmentation
from kdstudy.errors import DataError, KdstudyError, ModelError, PluginError
from kdstudy.models import pretrained_of, require_head, require_trainable, trace, without_downloads
from kdstudy.study import PluginSpec, TrialConfig, key_paths, show
from kdstudy.transfer import TransferContext
from kdstudy.trial.began import carved_test, require_source, weights_doubted, weights_told
from kdstudy.trial.build import (
    TrialNetworks,
    build_transfer,
    dataset_of,
    networks,
    policy_over,
    student_groups,
    student_spec,
    teacher_spec,
)
from kdstudy.trial.doubts import imitated_arithmetic, slow_norms
from kdstudy.trial.instrument import build_instrument
from kdstudy.trial.pairs import need_of
from kdstudy.trial.rank_split import rank_notes, require_split
from kdstudy.trial.recipe import rate_factor, require_coupled, require_optimizer
from kdstudy.trial.teacher import filled_teacher
from kdstudy.trial.teacher_score import glance, weakness
from kdstudy.trial.update import require_signals

CPU = torch.device("cpu")


class Fault(NamedTuple):
    """One thing that is wrong.

    Attributes:
        path: Key of the study file that it stands under.
        error: What was raised; its text may begin with a key path of its own.
    """

    path: str
    error: Exception

    def told(self) -> tuple[str, str]:
        """Return the key of the study file that it stands under and what to say there: each told once."""
        message = str(self.error)
        head, _, rest = message.partition(": ")
        if head in key_paths():
            return head, rest
        return self.path, rest if rest and head == self.path.rpartition(".")[2] else message


@dataclass
class Inspection:
    """What has been built of a study, and what was wrong.

    Args:
        configs: Trials of the study, all of one teacher and data set: the corners of its arms, say.
        teacher_file: Whether the teacher's file will be read; not where the store has the teacher.
        faults: What was found.
        notes: Lines on what was made of the teacher's file, and on weights that networks begin with.
        warnings: Lines on what to beware of.
        awaited: Why the data are not there yet, where they may be downloaded.
        data: The data set; None before, or where it cannot be had.
        teacher: The teacher's network, untrained; likewise.
        loaded: Whether that network holds the weights that the study will load.
    """

    configs: Sequence[TrialConfig]
    teacher_file: bool = True
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    awaited: DataError | None = None
    data: Dataset | None = None
    teacher: nn.Module | None = None
    loaded: bool = False
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

    def raise_faults(self) -> None:
        """Raise what is wrong, all of it in one line.

        Raises:
            DataError: The data are, and nothing else.
            ModelError: Anything else is.
        """
        if self.faults:
            kind = DataError if all(isinstance(fault.error, DataError) for fault in self.faults) else ModelError
            told = "; ".join(dict.fromkeys(": ".join(fault.told()) for fault in self.faults))
            raise kind(told) from self.faults[0].error.__cause__

    def tell_weights(self, owner: str, module: nn.Module, data: Dataset) -> None:
        """Note which weights the network of ``owner`` begins with."""
        self.notes.extend(weights_told(owner, module))
        self.warnings.extend(weights_doubted(owner, module, data))

    def networks(self, config: TrialConfig) -> TrialNetworks | None:
        """Return the networks of a trial, matched; None where they cannot be had, which is noted once."""
        model = config.student.model
        # What needs layers and has them serves also what does without.
        keys = [repr((model, need)) for need in ("layers", need_of(config.transfer, config.policy))]
        key = keys[0] if self._networks.get(keys[0]) else keys[1]
        if key not in self._networks and self.data is not None and self.teacher is not None:
            self._networks[key] = None
            with self.noting("student.model", config.teacher.model, model):
                require_trainable(student_spec(config, self.data))
                built = networks(config, self.data, self.teacher, CPU)
                self._networks[key] = built
                self.tell_weights("student", built.student.module, self.data)
                alike = [each for each in self.configs if each.student.model == model]
                self.warnings.extend(slow_norms(alike, built.student.module, len(self.data.train)))
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
        found.notes.extend(_too_large_batches(found))
        found.notes.extend(rank_notes(found.configs, len(found.data.train)))
        if config.cache.mode == "all_views":
            count_views(found.data.augmentation)
        try_augmentation(found.data)


def _too_large_batches(found: Inspection) -> Iterator[str]:
    """Yield which batches are larger than the training split, and so hold all of it: one step an epoch."""
    images = 0 if found.data is None else len(found.data.train)
    sizes = {
        "train.batch_size": max(config.train.batch_size for config in found.configs),
        "teacher.batch_size": 0 if (teacher := found.configs[0].teacher).path else teacher.batch_size,
    }
    for key, size in sizes.items():
        if size > images:
            yield (
                f"{key}: {size} is more than the {images} training images, so a batch holds all of them, and an epoch "
                "is one step"
            )


def check_teacher(found: Inspection) -> None:
    """Build the teacher's network, and fit its file to it if it is loaded."""
    config, data = found.configs[0], found.data
    if data is None:
        return
    model = config.teacher.model
    spec = teacher_spec(config, data)
    with found.noting("teacher.model", model):
        if config.teacher.trained_epochs:
            require_trainable(spec)
        found.teacher = spec.build(seed=0)
        found.tell_weights("teacher", found.teacher, data)
    if found.teacher is not None:
        with found.noting("teacher", model):
            require_source(config, found.teacher)
            if config.teacher.head_epochs is not None:
                require_head(found.teacher)
    if found.teacher is None or config.teacher.trained_epochs or not found.teacher_file:
        return
    known = pretrained_of(found.teacher)
    found.loaded = config.teacher.path is None and known is not None and known.sha256 is not None
    if config.teacher.path is None:
        return
    with found.noting("teacher.path", model):
        found.teacher, made = filled_teacher(config, spec)
        found.notes.extend(filter(None, [made]))
        found.warnings.extend(f"teacher: {line}" for line in filter(None, [carved_test(data)]))
        found.loaded = True


def check_teacher_score(found: Inspection) -> None:
    """Score a teacher that is loaded: one near chance is wrong where all validation images were looked at."""
    config, data, teacher = found.configs[0], found.data, found.teacher
    if data is None or teacher is None or not found.loaded:
        return
    with found.noting("teacher", config.teacher.model, config.data.name):
        seen = glance(config, teacher, data)
        if seen is None:
            return
        found.notes.append(f"teacher: validation {seen.score:.4f} on {seen.told}, chance {seen.chance:.4f}")
        weak = weakness(config, data, seen.score, seen.chance)
        if weak and seen.whole:
            raise ModelError(weak)
        if weak:
            found.warnings.append(f"teacher: {weak}; all {seen.of} validation images decide when the study runs")


def check_layers(found: Inspection) -> None:
    """Build every student that may be drawn, and match its crucial layers with the teacher's."""
    for config in found.configs:
        built = found.networks(config)
        if built is not None and config.layers != "auto":
            notes = _out_of_order(found, config.layers, built.context)
            found.notes.extend(note for note in notes if note not in found.notes)


def _out_of_order(found: Inspection, pairs: Sequence[tuple[str, str]], context: TransferContext) -> Iterator[str]:
    """Yield what is odd about named pairs that a trial takes all the same."""
    assert found.teacher is not None and found.data is not None
    if [student for student, _ in pairs] != [*context.layers]:
        yield f"layers: taken in the order in which the student runs them: {', '.join(context.layers)}"
    partners = context.teacher_layers
    if twice := sorted({name for name in partners if partners.count(name) > 1}):
        yield f"layers: the teacher's {', '.join(twice)} is the partner of more than one layer"
    order = [name for name, _ in trace(found.teacher, found.data.image_shape)]
    for early, late in itertools.pairwise(partners):
        if order.index(late) < order.index(early):
            yield f"layers: the teacher runs {late} before {early}, their partners in the student the other way round"


def check_arms(found: Inspection) -> None:
    """Have every transfer, policy and schedule take its options."""
    seen: set[str] = set()
    for config in found.configs:
        built = found.networks(config)
        parts = repr((config.student, config.transfer, config.policy, config.train))
        if built is None or found.data is None or parts in seen:
            continue
        seen.add(parts)
        _build_arm(found, config, built, found.data)


def _build_arm(found: Inspection, config: TrialConfig, built: TrialNetworks, data: Dataset) -> None:
    train, transfer, model = config.train, config.transfer, config.student.model
    with found.noting("train.schedule", train.schedule):
        rate_factor(config)(0.0)
    before = len(found.faults)
    with found.noting(f"arms.transfers.{transfer.called}", model, transfer):
        method = build_transfer(transfer.name, transfer.options, built.context, seed=config.init_seed)
        require_split(config, method, data)
    if len(found.faults) > before:
        return
    with found.noting("train.optimizer", train.optimizer):
        require_optimizer(config, student_groups(built, method, data.image_shape))
    with found.noting(f"arms.policies.{config.policy.called}", model, transfer, config.policy):
        policy = policy_over(config, built, data)
        require_signals(transfer, config.policy, policy, method)
        require_coupled(config, policy)
        if any(policy.due(epoch, train.epochs) for epoch in range(1, train.epochs + 1)):
            build_instrument(transfer, policy, built.context, seed=config.init_seed)


CHECKS = (check_data, check_teacher, check_teacher_score, check_layers, check_arms)
"""All of them, in this order."""


def inspect_parts(configs: Sequence[TrialConfig], *, teacher_file: bool = True) -> Inspection:
    """Run every check over some trials of a study; see `Inspection`. Fetches no weights."""
    found = Inspection(configs, teacher_file)
    with without_downloads():
        for check in CHECKS:
            check(found)
    found.warnings.extend(imitated_arithmetic(configs))
    return found


def _name_of(plugin: PluginSpec | str) -> str:
    return plugin if isinstance(plugin, str) else plugin.name
