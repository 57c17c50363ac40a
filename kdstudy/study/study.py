"""A study: what is held fixed, what is searched, what is compared."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, final

from kdstudy.errors import StudyError
from kdstudy.seeds import search_seed
from kdstudy.study.arm_id import ArmId
from kdstudy.study.build import build
from kdstudy.study.checks import check_recorded
from kdstudy.study.coerce import check
from kdstudy.study.diagnostics import Place, Problems, show
from kdstudy.study.execution_schema import CacheConfig, CacheMode, NumericsConfig, ResourcesConfig
from kdstudy.study.fields import REGISTRIES
from kdstudy.study.paths import POLICIES, TRANSFERS, fill_plugin, fill_section, plugin_leaves, section_leaves
from kdstudy.study.plugin_spec import PluginSpec
from kdstudy.study.recorded import TAGGED, read_recorded, tagged
from kdstudy.study.schema import DataConfig, LayerPairs, StudentConfig, StudyFile, TeacherConfig, TrainConfig
from kdstudy.study.search_schema import ConfirmConfig, SearchConfig
from kdstudy.study.space import Choice, Range
from kdstudy.study.trial_config import Seed, TrialConfig

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
    def id(self) -> ArmId:
        """Which arm of the study it is."""
        return ArmId(self.transfer.called, self.policy.called)

    @property
    def name(self) -> str:
        """``transfer/policy``, unique in a study."""
        return self.id.name


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
        search: int = 0,
        cache_mode: CacheMode | None = None,
    ) -> TrialConfig:
        """Return one trial of an arm: the study with its holes filled.

        Args:
            arm_name: ``transfer/policy``.
            values: One value for each path of `space`, no others.
            data_seed: Seed of order, augmentation, probe and random directions.
            init_seed: Seed of the student's initial weights.
            search: Which of the study's searches it belongs to, from 0.
            cache_mode: In place of the study's own, where that is ``auto`` and has been decided.

        Raises:
            StudyError: A value is missing, too many, or outside its range; or a seed is.
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
        wrong += [message for seed in (data_seed, init_seed) for message in _wrong_seed(seed, where)]
        if wrong:
            raise StudyError(wrong)
        filled = {path: span.fill(values[path]) for path, span in space.items()}
        return TrialConfig(
            name=self.name,
            data=self.data,
            teacher=self.teacher,
            student=fill_section("student", self.student, filled),
            train=fill_section("train", self.train, filled),
            transfer=fill_plugin(TRANSFERS, arm.transfer, filled),
            policy=fill_plugin(POLICIES, arm.policy, filled),
            layers=self.layers,
            resources=self.resources,
            numerics=self.numerics,
            cache=self.cache if cache_mode is None else replace(self.cache, mode=cache_mode),
            data_seed=data_seed,
            init_seed=init_seed,
            split_seed=search_seed(self.seed, search),
            study_seed=self.seed if search else None,
        )

    def corner(self, arm: Arm, end: Literal[0, -1]) -> TrialConfig:
        """Return the trial of an arm with every range at its first end (0) or its last (-1), and seeds 0."""
        values = {path: span.ends()[end] for path, span in self.space(arm).items()}
        return self.config(arm.name, values, data_seed=0, init_seed=0)

    def corners(self) -> list[tuple[str, TrialConfig]]:
        """Return (name, trial) of each arm's two corners; one where nothing is searched."""
        ends: tuple[tuple[str, Literal[0, -1]], ...] = (("first", 0), ("last", -1))
        return [
            (f"{arm.name} at its {name} ends", self.corner(arm, end))
            for arm in self.arms
            for name, end in (ends if self.space(arm) else ends[:1])
        ]

    def student_corners(self) -> list[TrialConfig]:
        """Return a trial of the first arm for each end of the student's ranges, every other range at its first.

        And for each optimizer that may be drawn.
        """
        arm = self.arms[0]
        ends = {
            path: span.ends() if path.startswith("student.") else span.ends()[:1]
            for path, span in self.space(arm).items()
        }
        optimizer: Any = self.train.optimizer
        if isinstance(optimizer, Choice):
            ends["train.optimizer"] = optimizer.options
        return [
            self.config(arm.name, dict(zip(ends, values, strict=True)), data_seed=0, init_seed=0)
            for values in itertools.product(*ends.values())
        ]

    def plugins(self) -> Iterator[tuple[str, str]]:
        """Yield kind and name of every plug-in that a trial of the study may ask for, and of those of its search."""
        yield "data set", self.data.name
        yield "sampler", self.search.sampler.name
        yield "pruner", self.search.pruner.name
        named: tuple[tuple[str, Any], ...] = (
            ("model", self.teacher.model),
            ("model", self.student.model),
            ("schedule", self.train.schedule),
            ("optimizer", self.train.optimizer),
            *(("transfer", arm.transfer) for arm in self.arms),
            *(("policy", arm.policy) for arm in self.arms),
            *(("augmentation", spec) for spec in self.data.augmentations),
        )
        for kind, value in named:
            for spec in value.filled or () if isinstance(value, Choice) else (value,):
                yield kind, spec.name

    def to_json(self) -> dict[str, Any]:
        """Return the study as a record holds it beside its text; `from_json` is the inverse, and asks no plug-in."""
        sections = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "arms"}
        transfers = {arm.id.transfer: tagged(arm.transfer) for arm in self.arms}
        policies = {arm.id.policy: tagged(arm.policy) for arm in self.arms}
        arms = {"transfers": [*transfers.values()], "policies": [*policies.values()]}
        return {**{name: tagged(section) for name, section in sections.items()}, "arms": arms}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str = "study") -> Self:
        """Build from `to_json`'s values. Imports no plug-in: who runs trials calls `require_plugins`.

        Args:
            values: Plain values.
            where: What messages call them.

        Raises:
            StudyError: They are not what `to_json` returns.
        """
        problems = Problems(where)
        if not isinstance(values.get("text"), str):
            problems.add(Place().key("text"), "must be the study file; restore a copy")
        parsed = read_recorded(StudyFile, {name: values[name] for name in values if name != "text"}, TAGGED, problems)
        search = parsed.get("search", {})
        if "trials" in (search.get("budget") or ()):
            search["trials_per_arm"] = None  # it was derived from the budget, and will be again
        check_recorded(parsed, problems)
        if problems:
            raise StudyError(problems.told())
        return cls.of(build(StudyFile, parsed), values["text"])

    @classmethod
    def of(cls, file: StudyFile, text: str) -> Self:
        """Return the study of a file that was read and checked.

        Args:
            file: Its sections.
            text: The file, verbatim.
        """
        arms = tuple(Arm(*pair) for pair in itertools.product(file.arms.transfers, file.arms.policies))
        search = file.search
        if search.budget is not None and "trials" in search.budget:
            shares = len(arms) * file.confirm.searches
            search = replace(search, trials_per_arm=int(search.budget["trials"]) // shares)
        sections = {field.name: getattr(file, field.name) for field in fields(file)}
        return cls(**{**sections, "arms": arms, "search": search, "text": text})

    def _leaves(self, arm: Arm) -> Iterator[tuple[str, Any]]:
        yield from section_leaves("student", self.student)
        yield from section_leaves("train", self.train)
        yield from plugin_leaves(TRANSFERS, arm.transfer)
        yield from plugin_leaves(POLICIES, arm.policy)


def require_plugins(study: Study) -> None:
    """See that code of the user's own that a study asks for is to be had, and allowed to run.

    Raises:
        PluginError: It is not.
    """
    for kind, name in dict.fromkeys(study.plugins()):
        if ":" in name:
            REGISTRIES[kind].load(name)


def _wrong_seed(seed: int, where: str) -> list[str]:
    return [f"{where}: a seed {message}" for message in check(Seed, seed)[1]]
