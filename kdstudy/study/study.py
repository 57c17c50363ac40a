"""A study: what is held fixed, what is searched, what is compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, final

from kdstudy.errors import StudyError
from kdstudy.study.diagnostics import show
from kdstudy.study.plugin_spec import PluginSpec, plain
from kdstudy.study.schema import (
    CacheConfig,
    ConfirmConfig,
    DataConfig,
    LayerPairs,
    NumericsConfig,
    ResourcesConfig,
    SearchConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
)
from kdstudy.study.space import Range
from kdstudy.study.trial_config import TrialConfig

_RANGES = (*Range.__args__,)


@final
@dataclass(frozen=True)
class Arm:
    """One cell of the comparison: a transfer method under a learning-rate policy. Options may be ranges.

    Args:
        transfer: The transfer method.
        policy: The learning-rate policy.
    """

    transfer: PluginSpec
    policy: PluginSpec

    @property
    def name(self) -> str:
        """``transfer/policy``, unique in a study."""
        return f"{self.transfer.called}/{self.policy.called}"


@final
@dataclass(frozen=True)
class Study:
    """A study file, read and checked: a trial with holes. Build it with `kdstudy.study.load_study`.

    Args:
        name: First part of its ID.
        seed: What everything random derives from.
        data: The images.
        teacher: The network that is learnt from.
        student: The network that learns; the model may be a `Choice`, its options ranges.
        train: How every student is trained; any field may hold a range.
        arms: Transfers times policies, in the file's order, the policies of the first transfer first.
        search: The search, equal for each arm.
        confirm: The runs that give the verdict.
        resources: What one trial takes.
        numerics: Faster arithmetic.
        cache: What trials share of the teacher.
        layers: ``auto``, or pairs (student layer, teacher layer).
        text: The file, verbatim.
    """

    name: str
    seed: int
    data: DataConfig
    teacher: TeacherConfig
    student: StudentConfig
    train: TrainConfig
    arms: tuple[Arm, ...]
    search: SearchConfig
    confirm: ConfirmConfig
    resources: ResourcesConfig
    numerics: NumericsConfig
    cache: CacheConfig
    layers: Literal["auto"] | LayerPairs
    text: str

    def arm(self, name: str) -> Arm:
        """Return the arm called ``name``.

        Raises:
            StudyError: There is none.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        names = ", ".join(arm.name for arm in self.arms)
        raise StudyError([f"{self.name}: no arm is called '{name}'; choose from {names}"])

    @property
    def max_epochs(self) -> int:
        """Most epochs a trial may run."""
        epochs: Any = self.train.epochs
        return int(max(epochs.ends())) if isinstance(epochs, _RANGES) else int(epochs)

    def space(self, arm: Arm | str) -> dict[str, Range]:
        """Return the ranges of an arm by dotted path, in the order in which they are documented.

        Arms of one transfer have the paths of student, train and transfer in common.
        """
        arm = self.arm(arm) if isinstance(arm, str) else arm
        return {path: value for path, value in self._leaves(arm) if isinstance(value, _RANGES)}

    def config(
        self,
        arm_name: str,
        values: Mapping[str, Any],
        *,
        data_seed: int,
        init_seed: int,
        cache_mode: str | None = None,
    ) -> TrialConfig:
        """Return one trial of an arm: the study with its holes filled.

        Args:
            arm_name: ``transfer/policy``.
            values: One value for each path of `space`, no others.
            data_seed: Seed of order, augmentation, probe and random directions.
            init_seed: Seed of the student's initial weights.
            cache_mode: In place of the study's own, where that is ``auto`` and has been decided.

        Raises:
            StudyError: A value is missing, too many, outside its range, or wrong together with another.
        """
        arm, where = self.arm(arm_name), f"{self.name}, arm {arm_name}"
        space = self.space(arm)
        wrong = [
            f"{where}: {path}: no value given; give one of {show(span.to_yaml())}"
            for path, span in space.items()
            if path not in values
        ]
        wrong += [
            f"{where}: {path}: not searched in this arm, got {show(value)}; leave it out"
            for path, value in values.items()
            if path not in space
        ]
        wrong += [
            f"{where}: {path}: outside its range, got {show(values[path])}; take one of {show(span.to_yaml())}"
            for path, span in space.items()
            if path in values and not span.contains(values[path])
        ]
        if wrong:
            raise StudyError(wrong)
        return TrialConfig.from_json(
            {
                "name": self.name,
                "data": _filled("data", self.data, values),
                "teacher": _filled("teacher", self.teacher, values),
                "student": _filled("student", self.student, values),
                "train": _filled("train", self.train, values),
                "transfer": _spec("arms.transfers", arm.transfer, values),
                "policy": _spec("arms.policies", arm.policy, values),
                "layers": plain(self.layers),
                "resources": _filled("resources", self.resources, values),
                "numerics": _filled("numerics", self.numerics, values),
                "cache": {**_filled("cache", self.cache, values), "mode": cache_mode or self.cache.mode},
                "data_seed": data_seed,
                "init_seed": init_seed,
                "split_seed": self.seed,
            },
            where,
        )

    def _leaves(self, arm: Arm) -> Iterator[tuple[str, Any]]:
        for name, section in (("student", self.student), ("train", self.train)):
            for field in fields(section):
                value = getattr(section, field.name)
                yield f"{name}.{field.name}", value
                if isinstance(value, PluginSpec):
                    yield from _options(f"{name}.{field.name}", value)
        yield from _options("arms.transfers", arm.transfer)
        yield from _options("arms.policies", arm.policy)


def _options(path: str, spec: PluginSpec) -> Iterator[tuple[str, Any]]:
    for name, value in spec.options.items():
        yield f"{path}.{spec.called}.{name}", value


def _filled(path: str, section: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    filled = {}
    for field in fields(section):
        inner, value = f"{path}.{field.name}", getattr(section, field.name)
        if inner in values:
            filled[field.name] = values[inner]
        elif isinstance(value, PluginSpec):
            filled[field.name] = _spec(inner, value, values)
        else:
            filled[field.name] = plain(value)
    return filled


def _spec(path: str, spec: PluginSpec, values: Mapping[str, Any]) -> Any:
    options = {
        name: values.get(inner, value) for (inner, value), name in zip(_options(path, spec), spec.options, strict=True)
    }
    return replace(spec, options=options).to_yaml()
