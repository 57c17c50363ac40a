"""The sections of the study file that say how trials are computed: `resources`, `numerics`, `cache`.

The same for every trial of a study, and no part of what it asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le, Lt

from kdstudy.study.fields import Key

CacheMode = Literal["auto", "off", "schedule", "all_views", "views"]
_EXACT = 2**53  # as a JSON number anywhere


@dataclass(frozen=True)
class ResourcesConfig:
    """Section ``resources``: what one trial takes."""

    cpus: Annotated[int, Ge(1), Key("CPU cores, and threads, of one trial, or of each of its ranks.")] = 1
    gpus: Annotated[
        float,
        Ge(0),
        Key("GPUs of one trial: 0, 1, or a share below 1, also of the memory; of each of its ranks: 0 or 1."),
    ] = 0.0
    ranks: Annotated[
        int,
        Ge(1),
        Le(1024),
        Key(
            "Processes that train one trial together (data parallel), on one node or several, each on its part of "
            "every batch: 4 with `gpus: 1` is a trial on four GPUs. Its numbers are those of one, to rounding.",
            2,
        ),
    ] = 1
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

    @property
    def all_gpus(self) -> float:
        """GPUs of one trial, of all its ranks."""
        return self.gpus * self.ranks


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
            "How the optimizer updates the weights: tensor by tensor (`loop`), the tensors of a layer at once "
            "(`foreach`), or in one kernel (`fused`, which rounds differently). `auto` is `loop` on a CPU and "
            "`foreach` on a GPU; the record of a trial says which.",
            "fused",
        ),
    ] = "auto"
    graph: Annotated[
        Literal["off", "auto", "on"],
        Key(
            "Whether the student's training pass is compiled, which a GPU then replays as CUDA graphs: for small "
            "networks there, whose kernels take longer to launch than to run. Rounds differently; derivatives are "
            "taken as ever. `auto` compiles on a GPU alone; the record of a trial says so.",
            "auto",
        ),
    ] = "off"
    sync_batch_norm: Annotated[
        bool,
        Key(
            "With several `resources.ranks`, take the student's batch statistics over the whole batch, as one process "
            "does; `false` takes each rank's own, which is faster and another training."
        ),
    ] = True
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
        int, Ge(0), Lt(_EXACT), Key("Most bytes kept on a node; what needs more is computed in every step.")
    ] = 4_000_000_000
