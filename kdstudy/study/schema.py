"""The sections of the study file and their keys, as frozen types: `data`, `teacher`, `train` and the rest.

In a `kdstudy.study.Study` any field whose key is ``ranged`` and any option of a `PluginSpec` may hold a
range; in a `TrialConfig` none does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from kdstudy.study.execution_schema import CacheConfig, NumericsConfig, ResourcesConfig
from kdstudy.study.fields import Key
from kdstudy.study.plugin_spec import PluginSpec
from kdstudy.study.search_schema import ConfirmConfig, SearchConfig

SEED_LIMIT = 2**53  # exact as a JSON number anywhere
LayerPairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DataConfig:
    """Section ``data``."""

    name: Annotated[str, Key("The data set.", "digits")]
    val_fraction: Annotated[
        float,
        Gt(0),
        Lt(1),
        Key("Share of the training images carved out, stratified, for validation; search sees no other score."),
    ] = 0.1
    root: Annotated[
        str | None,
        Key(
            "Folder that holds the data set, from the study file's own folder; null for `$KDSTUDY_DATA`, or `data` "
            "where the command is given.",
            "../data",
        ),
    ] = None
    train_images: Annotated[
        Annotated[int, Ge(2)] | None,
        Key("Keep a seeded, stratified part of the training images, taken before the split; null for all.", 5000),
    ] = None
    download: Annotated[bool, Key("Whether a missing data set may be downloaded.")] = False
    augment: Annotated[
        bool | tuple[PluginSpec, ...],
        Key(
            "How training images are randomly changed: `true` for what is customary for the data set, `false` for not "
            "at all, or a list of augmentations, applied in its order.",
            "rand_augment",
            plugin="augmentation",
        ),
    ] = True
    options: Annotated[dict[str, Any], Key("Options of this data set: see `kdstudy datasets NAME`.")] = field(
        default_factory=dict
    )

    @property
    def augmentations(self) -> tuple[PluginSpec, ...]:
        """The augmentations that the file lists, in order; none where it says true or false."""
        return () if isinstance(self.augment, bool) else self.augment


@dataclass(frozen=True)
class TeacherConfig:
    """Section ``teacher``: trained once per study, or loaded; with weights of its model, also taken as it is."""

    model: Annotated[PluginSpec, Key("The teacher's network.", "resnet20", plugin="model")]
    path: Annotated[
        Annotated[str, MinLen(1)] | None,
        Key(
            "File of trained weights, from the study file's own folder; give this, `epochs` or `head_epochs`, or none "
            "of them to take a model with weights as it is.",
            "weights.safetensors",
        ),
    ] = None
    epochs: Annotated[
        Annotated[int, Ge(1)] | None,
        Key("Train all of the teacher here for so many epochs, from its model's weights if it has any.", 20),
    ] = None
    head_epochs: Annotated[
        Annotated[int, Ge(1)] | None,
        Key("Train only the last layer for so many epochs, on the frozen weights of its model (a linear probe).", 5),
    ] = None
    base_lr: Annotated[float, Gt(0), Key("Learning rate at the first step of the teacher's training.")] = 0.1
    batch_size: Annotated[int, Ge(2), Key("Images in one step of the teacher's training.")] = 64
    weight_decay: Annotated[float, Ge(0), Key("Weight decay in the teacher's training.")] = 5e-4
    mean: Annotated[
        Annotated[tuple[float, ...], MinLen(1)] | None,
        Key(
            "The teacher's own input normalisation, one number per channel; null for that of its model's weights, else "
            "the data set's.",
            [0.5, 0.5, 0.5],
        ),
    ] = None
    std: Annotated[
        Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] | None,
        Key("As `mean`: the divisor of each channel.", [0.25, 0.25, 0.25]),
    ] = None
    key_map: Annotated[
        dict[str, str],
        Key(
            "For a loaded file: prefix of a tensor's name in the file to that in the network, which may be empty.",
            {"linear": "fc"},
        ),
    ] = field(default_factory=dict)
    allow_weak: Annotated[bool, Key("Accept a teacher whose score is near chance.")] = False

    @property
    def trained_epochs(self) -> int:
        """Epochs that it is trained here, wholly or its last layer; 0 where it is taken as it is."""
        return self.epochs or self.head_epochs or 0


@dataclass(frozen=True)
class StudentConfig:
    """Section ``student``."""

    model: Annotated[PluginSpec, Key("The student's network.", "resnet8", ranged=True, plugin="model")]


@dataclass(frozen=True)
class TrainConfig:
    """Section ``train``: how every student is trained."""

    epochs: Annotated[int, Ge(1), Le(1_000_000), Key("Passes over the training split.", 8, ranged=True)]
    batch_size: Annotated[int, Ge(2), Key("Images in one step.", 64, ranged=True)]
    base_lr: Annotated[
        float,
        Gt(0),
        Key("Learning rate at the first step, before schedule and layer-wise multipliers.", 0.1, ranged=True),
    ]
    weight_decay: Annotated[
        float,
        Ge(0),
        Key("Weight decay; of `sgd` coupled to the gradient, of `adamw` decoupled (0.01 to 0.3 there).", ranged=True),
    ] = 5e-4
    momentum: Annotated[float, Ge(0), Lt(1), Key("Momentum of SGD, 0 for none; beta_1 of `adamw`.", ranged=True)] = 0.9
    nesterov: Annotated[bool, Key("Whether SGD's momentum is Nesterov's.", ranged=True)] = False
    schedule: Annotated[
        PluginSpec, Key("How the learning rate falls over the epochs.", "cosine", ranged=True, plugin="schedule")
    ] = field(default_factory=lambda: PluginSpec("cosine"))
    optimizer: Annotated[
        PluginSpec,
        Key("What updates the weights; `numerics.optimizer` says how it computes.", "adamw", True, "optimizer"),
    ] = field(default_factory=lambda: PluginSpec("sgd"))
    warmup_epochs: Annotated[
        int,
        Ge(0),
        Key("First epochs in which the learning rate also rises, from a hundredth; fewer than `epochs`.", ranged=True),
    ] = 0
    label_weight: Annotated[
        float,
        Gt(0),
        Key("Factor on the cross-entropy with the labels; small to learn from the teacher above all.", 0.5, True),
    ] = 1.0
    label_smoothing: Annotated[
        float,
        Ge(0),
        Lt(1),
        Key("Share of the label's weight that all classes share in the cross-entropy of training.", 0.1, ranged=True),
    ] = 0.0
    clip_norm: Annotated[
        Annotated[float, Gt(0)] | None,
        Key(
            "Largest norm of the gradients of all weights together, to which they are scaled; null for any.", 1.0, True
        ),
    ] = None


@dataclass(frozen=True)
class ArmsConfig:
    """Section ``arms``: every transfer under every policy, with equal budgets."""

    transfers: Annotated[
        tuple[PluginSpec, ...],
        MinLen(1),
        Key("Transfer methods; the options of each may be ranges.", "attention", ranged=True, plugin="transfer"),
    ]
    policies: Annotated[
        tuple[PluginSpec, ...],
        MinLen(1),
        Key("Learning-rate policies; the options of each may be ranges.", "constant", ranged=True, plugin="policy"),
    ]


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """Everything a study file says, in the order in which it is documented."""

    name: Annotated[
        str, Key("Name of the study, the first part of its ID: letters, digits, `.`, `_`, `-`.", "my-study")
    ]
    seed: Annotated[int, Ge(0), Lt(SEED_LIMIT), Key("The one seed that everything random derives from.")] = 0
    data: Annotated[DataConfig, Key("The images.")]
    teacher: Annotated[TeacherConfig, Key("The network that is learnt from; trained once per study, or loaded.")]
    student: Annotated[StudentConfig, Key("The network that learns.")]
    train: Annotated[TrainConfig, Key("How every student is trained.")]
    arms: Annotated[ArmsConfig, Key("What is compared: one arm is one transfer under one policy.")]
    search: Annotated[SearchConfig, Key("The search, equal for each arm.")]
    confirm: Annotated[ConfirmConfig, Key("The runs that give the verdict.")] = field(default_factory=ConfirmConfig)
    resources: Annotated[ResourcesConfig, Key("What one trial takes.")] = field(default_factory=ResourcesConfig)
    numerics: Annotated[NumericsConfig, Key("Faster arithmetic, the same for every trial.")] = field(
        default_factory=NumericsConfig
    )
    cache: Annotated[CacheConfig, Key("What trials share of the teacher.")] = field(default_factory=CacheConfig)
    layers: Annotated[
        Literal["auto"] | Annotated[LayerPairs, MinLen(1)],
        Key(
            "Crucial layers: `auto` matches by dimension; else pairs [student layer, teacher layer] in order of depth.",
            [["layer1", "layer1"]],
        ),
    ] = "auto"
