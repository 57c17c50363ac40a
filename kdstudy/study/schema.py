"""The sections of the study file and their keys, as frozen types: `data`, `teacher`, `train` and the rest.

In a `kdstudy.study.Study` any field whose key is ``ranged`` and any option of a `PluginSpec` may hold a
range; in a `TrialConfig` none does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from kdstudy.study.fields import Key
from kdstudy.study.plugin_spec import PluginSpec
from kdstudy.study.search_schema import ConfirmConfig, SearchConfig

SEED_LIMIT = 2**53  # exact as a JSON number anywhere
LayerPairs = tuple[tuple[str, str], ...]
CacheMode = Literal["auto", "off", "schedule", "all_views", "views"]


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
    """Section ``train``: how every student is trained (SGD)."""

    epochs: Annotated[int, Ge(1), Le(1_000_000), Key("Passes over the training split.", 8, ranged=True)]
    batch_size: Annotated[int, Ge(2), Key("Images in one step.", 64, ranged=True)]
    base_lr: Annotated[
        float,
        Gt(0),
        Key("Learning rate at the first step, before schedule and layer-wise multipliers.", 0.1, ranged=True),
    ]
    weight_decay: Annotated[float, Ge(0), Key("Weight decay, coupled to the learning rate as in SGD.", ranged=True)] = (
        5e-4
    )
    momentum: Annotated[float, Ge(0), Lt(1), Key("Momentum of SGD; 0 for none.", ranged=True)] = 0.9
    nesterov: Annotated[bool, Key("Whether the momentum is Nesterov's.", ranged=True)] = False
    schedule: Annotated[
        PluginSpec, Key("How the learning rate falls over the epochs.", "cosine", ranged=True, plugin="schedule")
    ] = field(default_factory=lambda: PluginSpec("cosine"))


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


@dataclass(frozen=True)
class ResourcesConfig:
    """Section ``resources``: what one trial takes."""

    cpus: Annotated[int, Ge(1), Key("CPU cores, and threads, of one trial.")] = 1
    gpus: Annotated[float, Ge(0), Key("GPUs of one trial: 0, 1, or a share below 1, also of the memory.")] = 0.0
    max_failures: Annotated[
        int, Ge(0), Key("Times a trial, or a pack of them, is started again after its machine is lost.")
    ] = 3
    pack: Annotated[
        Literal["off", "auto"] | Annotated[int, Ge(2), Le(16)],
        Key(
            "Search trials of one arm that train in one process, a step each in turn, with the same batches and one "
            "pass of the teacher: each gives what it gives alone, and together they take the memory of so many "
            "students. `auto`: up to 4 where the teacher is run in every step and no slot stands empty for it. "
            "Raises `search.lag`, unless that is given.",
            4,
        ),
    ] = "off"


@dataclass(frozen=True)
class NumericsConfig:
    """Section ``numerics``: faster arithmetic, each kind with other rounding; the defaults are the reference."""

    memory_format: Annotated[
        Literal["contiguous", "channels_last"],
        Key(
            "How both networks lay out activations; `channels_last` is faster and rounds differently.", "channels_last"
        ),
    ] = "contiguous"
    student: Annotated[
        Literal["float32", "bfloat16"],
        Key(
            "Precision of the student's layers in training (autocast); maps, losses, derivatives, weights and scores "
            "stay float32.",
            "bfloat16",
        ),
    ] = "float32"
    teacher: Annotated[
        Literal["float32", "folded", "bfloat16"],
        Key(
            "How the teacher runs: `folded` puts batch normalisation into the convolutions (features off by about "
            "1e-6), `bfloat16` also uses low precision (by about 1 %; never for derivatives).",
            "folded",
        ),
    ] = "float32"
    deterministic: Annotated[
        bool,
        Key(
            "Whether a rerun on the same kind of machine gives the same bits. `false` takes the fastest kernels on a "
            "GPU, and `kdstudy reproduce` then compares within a tolerance; on a CPU it changes nothing.",
            False,
        ),
    ] = True
    optimizer: Annotated[
        Literal["auto", "loop", "foreach", "fused"],
        Key(
            "How SGD updates the weights: tensor by tensor (`loop`), the tensors of a layer at once (`foreach`), or in "
            "one kernel (`fused`, which rounds differently). `auto` is `loop` on a CPU and `foreach` on a GPU; the "
            "record of a trial says which.",
            "fused",
        ),
    ] = "auto"
    packs: Annotated[
        Literal["turns", "vmap"],
        Key(
            "How the students of a pack (`resources.pack`) run: in turn, each bit for bit what it is alone; or at "
            "once, in one pass over their stacked weights (`vmap`), which rounds differently. Where it cannot be, they "
            "run in turn, and the records of the trials say why.",
            "vmap",
        ),
    ] = "turns"


@dataclass(frozen=True)
class CacheConfig:
    """Section ``cache``: what trials share of the teacher instead of computing it again."""

    mode: Annotated[
        CacheMode,
        Key(
            "`off` runs the teacher in every step; `schedule` keeps its outputs step by step for the trials of one "
            "data seed, bit for bit those of `off`; `all_views` keeps those of every view that augmentation can draw, "
            "for trials of any data seed, bit for bit those of `off`; `views` shows each image in `cache.views` views "
            "in turn, other images than `off`; `auto` is `schedule` for what several trials share and "
            "`cache.max_bytes` holds, else `off`.",
            "schedule",
        ),
    ] = "auto"
    views: Annotated[
        int, Ge(1), Le(1_000_000), Key("For `views`: views of each image, taken in turn epoch by epoch.")
    ] = 8
    dtype: Annotated[
        Literal["float32", "float16"],
        Key(
            "Type in which outputs are kept, and to which they are rounded where they are computed; `float16` halves "
            "the size and is no longer bit for bit `off`. Derivatives stay float32.",
            "float32",
        ),
    ] = "float32"
    max_bytes: Annotated[
        int, Ge(0), Lt(SEED_LIMIT), Key("Most bytes kept on a node; what needs more is computed in every step.")
    ] = 4_000_000_000


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
