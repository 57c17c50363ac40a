"""The configuration of one trial: a study file whose holes are filled, plus the trial's seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal, Self, final

from annotated_types import Ge, Lt, MinLen

from kdstudy.errors import StudyError
from kdstudy.study.arm_id import ArmId
from kdstudy.study.build import build
from kdstudy.study.checks import check_recorded, check_trial
from kdstudy.study.diagnostics import Place, Problems
from kdstudy.study.execution_schema import CacheConfig, NumericsConfig, ResourcesConfig
from kdstudy.study.fields import Key
from kdstudy.study.plugin_spec import PluginSpec, plain
from kdstudy.study.recorded import NOTATION, read_recorded
from kdstudy.study.schema import SEED_LIMIT, DataConfig, LayerPairs, StudentConfig, TeacherConfig, TrainConfig
from kdstudy.study.validate import Reader
from kdstudy.study.yaml_text import write_text

Seed = Annotated[int, Ge(0), Lt(SEED_LIMIT)]


@final
@dataclass(frozen=True)
class TrialConfig:
    """Everything that decides a trial's numbers.

    Args:
        name: The study's name.
        data: Its data set.
        teacher: Its teacher.
        student: The student's network.
        train: How it is trained.
        transfer: The transfer method.
        policy: The learning-rate policy.
        layers: ``auto``, or pairs (student layer, teacher layer).
        resources: What the trial takes.
        numerics: Faster arithmetic than the reference.
        cache: What it shares of the teacher; ``auto``, in a trial, shares nothing.
        data_seed: Seed of order, augmentation, probe and random directions.
        init_seed: Seed of the student's initial weights.
        split_seed: Its search's seed, which also makes the subset of training images and the validation split.
        study_seed: The study's, which also makes the teacher; None where it is the search's.
    """

    name: Annotated[str, Key("Name of the study.", "my-study")]
    data: Annotated[DataConfig, Key("The images.")]
    teacher: Annotated[TeacherConfig, Key("The network that is learnt from.")]
    student: Annotated[StudentConfig, Key("The network that learns.")]
    train: Annotated[TrainConfig, Key("How the student is trained.")]
    transfer: Annotated[PluginSpec, Key("The transfer method.", "attention", plugin="transfer")]
    policy: Annotated[PluginSpec, Key("The learning-rate policy.", "constant", plugin="policy")]
    layers: Annotated[Literal["auto"] | Annotated[LayerPairs, MinLen(1)], Key("Crucial layers.", "auto")]
    resources: Annotated[ResourcesConfig, Key("What the trial takes.")]
    data_seed: Annotated[Seed, Key("Seed of the data's streams.", 0)]
    init_seed: Annotated[Seed, Key("Seed of the initial weights.", 0)]
    split_seed: Annotated[Seed, Key("Seed of the search.", 0)]
    numerics: Annotated[NumericsConfig, Key("Faster arithmetic.")] = field(default_factory=NumericsConfig)
    cache: Annotated[CacheConfig, Key("What trials share of the teacher.")] = field(default_factory=CacheConfig)
    study_seed: Annotated[Seed | None, Key("Seed of the study; null where it is `split_seed`.", 0)] = None

    @property
    def as_study(self) -> Self:
        """The trial on the study's own split, which its teacher was trained on and its record describes."""
        return self if self.study_seed is None else replace(self, split_seed=self.study_seed, study_seed=None)

    @property
    def arm(self) -> str:
        """Name of the trial's arm: ``transfer/policy``."""
        return ArmId(self.transfer.called, self.policy.called).name

    def to_json(self) -> dict[str, Any]:
        """Return plain values, plug-ins in the study file's notation; `from_json` is the inverse."""
        return {field.name: _section(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str = "trial") -> Self:
        """Build from `to_json`'s values; what is left out takes its default. No plug-in is asked or imported.

        Args:
            values: Plain values.
            where: What messages call them.

        Raises:
            StudyError: They do not make a trial; every problem at once.
        """
        problems = Problems(where)
        parsed = read_recorded(cls, values, NOTATION, problems)
        check_recorded(parsed, problems)
        if problems:
            raise StudyError(problems.told())
        return build(cls, parsed)

    @classmethod
    def validated(cls, values: Mapping[str, Any], where: str = "trial") -> Self:
        """Build like `from_json`, the options of its plug-ins checked and filled in as for a study file.

        Raises:
            StudyError: As `from_json`; or a plug-in is not to be had, or not allowed to run.
        """
        problems = Problems(where)
        reader = Reader(problems, refusal="a resolved trial holds no range", recorded=True)
        parsed = reader.section(cls, dict(values), Place())
        check_trial(parsed, problems)
        if problems:
            raise StudyError(problems.told())
        return build(cls, parsed)

    def to_yaml(self) -> str:
        """Return a study file without holes whose one trial is this one, but for the seeds that it derives.

        `load_study` takes it, unless this trial's interval was too long for its controller to act even once, or an
        earlier version recorded what no study file says today.
        """
        values = self.to_json()
        tree = {
            "name": self.name,
            "seed": self.split_seed,
            **{key: values[key] for key in ("data", "teacher", "student", "train")},
            "arms": {"transfers": [values["transfer"]], "policies": [values["policy"]]},
            "search": {"sampler": "random", "trials_per_arm": 1},
            "confirm": {"seeds": 0},
            "resources": values["resources"],
            "numerics": values["numerics"],
            "cache": values["cache"],
            "layers": values["layers"],
        }
        return write_text(
            tree,
            f"One trial of {self.name}, arm {self.arm}, without holes.\n"
            f"It ran with data_seed {self.data_seed} and init_seed {self.init_seed}; "
            "a study of this file derives its own from `seed`.",
        )


def _section(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, PluginSpec):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return plain(value)
