"""What a study file of another program calls things, and what stands for it in ours: for messages about unknown keys.

A target is a path of the study file, an option of plug-ins (for unknown options), or an option of ``kdstudy run``;
a test sees that each exists.
"""

from __future__ import annotations

import functools
from collections.abc import Collection

from kdstudy.errors import did_you_mean
from kdstudy.study.fields import fields_of
from kdstudy.study.schema import StudyFile

Meant = tuple[tuple[str, ...], str]
"""Targets, and a remark in words; empty where the targets say it all."""

_RATE = (("train.base_lr", "teacher.base_lr"), "")
_BATCH = (("train.batch_size", "teacher.batch_size"), "")
_EPOCHS = (("train.epochs", "teacher.epochs"), "")
_DECAY = (("train.weight_decay", "teacher.weight_decay"), "")
_OPTIMIZER = (("train.optimizer",), "see `kdstudy optimizers`; the teacher is trained by SGD")
_WARM_UP = (("train.warmup_epochs",), "for every schedule")
_SCHEDULE = (("train.schedule",), "see `kdstudy schedules`")
_LOW_PRECISION = (("numerics.student", "numerics.teacher"), "float32 or bfloat16, not float16")
_PRUNER = (("search.pruner",), "for example {patience: {epochs: 5}}")
_BUDGET = (("search.budget",), "for example {hours: 2}")
_TRIALS = (("search.trials_per_arm", "search.budget"), "")
_SAMPLER = (("search.sampler",), "")
_GPUS = (("resources.gpus",), "")
_CPUS = (("resources.cpus",), "")
_DATA = (("data.name",), "")
_ROOT = (("data.root",), "")
_OF_DATA = (("data.options",), "see `kdstudy datasets NAME`")
_FROM_DATA = (("data.name",), "the data set tells it")
_VALIDATION = (("data.val_fraction",), "carved from the training images")
_PART = (("data.train_images",), "")
_WEIGHTS = (("teacher.path",), "or give a model weights: {torchvision: {name: resnet50, weights: pretrained}}")
_HEAD = (("teacher.head_epochs",), "on the frozen weights of the teacher's model")
_TRANSFERS = (("arms.transfers",), "")
_POLICIES = (("arms.policies",), "")
_SEEDS = (("confirm.seeds", "confirm.searches"), "")
_SMALLEST = (("confirm.smallest",), "in points")
_LAYERS = (("layers",), "")
_STORE = (("--store",), "of the command line")
_CLUSTER = (("--address",), "of the command line")
_MLFLOW = (("--tracking-uri",), "of the command line; every study is in MLflow")

OTHER_KEYS: dict[str, Meant] = {
    **dict.fromkeys(("lr", "learning_rate", "initial_lr", "init_lr", "lr0", "eta", "max_lr"), _RATE),
    **dict.fromkeys(("batch", "bs", "batchsize", "train_batch_size", "per_device_batch_size"), _BATCH),
    **dict.fromkeys(("num_epochs", "n_epochs", "max_epochs", "nb_epochs", "steps", "iterations"), _EPOCHS),
    **dict.fromkeys(("wd", "l2", "decay", "weight_penalty"), _DECAY),
    **dict.fromkeys(("optimizer", "optimiser", "optim", "opt", "sgd", "adam", "adamw"), _OPTIMIZER),
    **dict.fromkeys(("scheduler", "lr_scheduler", "lr_schedule", "lr_policy", "sched", "cosine"), _SCHEDULE),
    **dict.fromkeys(("milestones", "gamma", "lr_decay_epochs"), (("train.schedule",), "multistep has them as options")),
    **dict.fromkeys(("warmup", "warmup_epochs", "warmup_steps", "num_warmup_epochs"), _WARM_UP),
    **dict.fromkeys(("amp", "fp16", "bf16", "half", "precision", "mixed_precision", "autocast"), _LOW_PRECISION),
    **dict.fromkeys(("channels_last", "layout"), (("numerics.memory_format",), "")),
    **dict.fromkeys(("early_stopping", "early_stop", "patience", "pruning", "stopper", "asha", "hyperband"), _PRUNER),
    **dict.fromkeys(("timeout", "time_limit", "time_budget", "max_time", "max_hours", "hours"), _BUDGET),
    **dict.fromkeys(("n_trials", "num_trials", "trials", "max_trials", "num_samples", "count"), _TRIALS),
    **dict.fromkeys(("algorithm", "search_alg", "tuner", "optuna", "hpo", "tpe"), _SAMPLER),
    **dict.fromkeys(("n_startup_trials", "warmup_trials", "initial_points"), (("search.startup",), "")),
    **dict.fromkeys(("concurrency", "max_concurrent", "max_concurrent_trials", "n_jobs"), (("search.lag",), "")),
    **dict.fromkeys(("search_space", "space", "ranges", "params", "hyperparameters"), (
        ("train.base_lr",), "a range stands where its value would, such as {log: [0.01, 0.3]}")),
    **dict.fromkeys(("device", "devices", "gpu", "gpus", "num_gpus", "cuda"), _GPUS),
    **dict.fromkeys(("cpu", "cpus", "num_cpus", "threads", "num_threads"), _CPUS),
    **dict.fromkeys(("retries", "max_retries"), (("resources.max_failures",), "")),
    **dict.fromkeys(("dataset", "datasets"), _DATA),
    **dict.fromkeys(("data_dir", "data_path", "data_root", "dir", "directory", "folder", "path"), _ROOT),
    **dict.fromkeys(("num_workers", "workers", "image_size", "img_size", "resolution", "input_size", "size"), _OF_DATA),
    **dict.fromkeys(("num_classes", "classes", "n_classes", "in_channels", "channels"), _FROM_DATA),
    **dict.fromkeys(("val", "val_split", "validation", "validation_split", "val_size", "split"), _VALIDATION),
    **dict.fromkeys(("subset", "max_images", "limit", "n_train", "train_size", "num_train"), _PART),
    **dict.fromkeys(("augmentation", "augmentations", "aug", "transforms", "transform"), (("data.augment",), "")),
    **dict.fromkeys(("checkpoint", "ckpt", "weights", "pretrained", "load", "file", "teacher_path"), _WEIGHTS),
    **dict.fromkeys(("linear_probe", "linear_probing", "probe_epochs", "freeze", "frozen", "freeze_backbone"), _HEAD),
    **dict.fromkeys(("finetune", "fine_tune", "finetune_epochs"), (("teacher.epochs",), "")),
    **dict.fromkeys(("rename", "mapping", "prefix", "strict"), (("teacher.key_map",), "")),
    **dict.fromkeys(("network", "net", "arch", "architecture", "backbone"), (("student.model", "teacher.model"), "")),
    **dict.fromkeys(("teacher_model",), (("teacher.model",), "")),
    **dict.fromkeys(("student_model", "model", "models"), (("student.model", "teacher.model"), "")),
    **dict.fromkeys(("loss", "losses", "method", "methods", "distiller", "distillation", "kd", "transfer"), _TRANSFERS),
    **dict.fromkeys(("temperature", "tau", "alpha", "kd_weight"), (("arms.transfers",), "an option of the transfer")),
    **dict.fromkeys(("policy", "controller", "layerwise"), _POLICIES),
    **dict.fromkeys(("layer", "crucial_layers", "hint_layers", "feature_layers", "layer_pairs", "hooks"), _LAYERS),
    **dict.fromkeys(("random_seed", "manual_seed", "random_state"), (("seed",), "")),
    **dict.fromkeys(("n_seeds", "num_seeds", "runs", "n_runs", "repeats", "repetitions", "replicates"), _SEEDS),
    **dict.fromkeys(("margin", "equivalence", "min_effect", "delta", "smallest_effect"), _SMALLEST),
    **dict.fromkeys(("baseline", "baselines", "comparison", "contrasts"), (("confirm.comparisons",), "")),
    **dict.fromkeys(("output", "output_dir", "out_dir", "save_dir", "log_dir", "workdir", "store"), _STORE),
    **dict.fromkeys(("address", "ray", "ray_address", "cluster"), _CLUSTER),
    **dict.fromkeys(("mlflow", "tracking_uri", "tracking", "logger", "wandb", "tensorboard"), _MLFLOW),
}  # fmt: skip
"""Unknown key, in lower case and with underscores, to what is meant."""

OTHER_OPTIONS = {
    **dict.fromkeys(("t", "tau", "temp"), ("temperature",)),
    **dict.fromkeys(("lambda", "lam", "coef", "coefficient", "loss_weight", "alpha", "beta", "kd_weight"), ("weight",)),
    **dict.fromkeys(("every", "update_every", "frequency", "period"), ("interval",)),
    **dict.fromkeys(("step", "strength", "kappa"), ("gain",)),
    **dict.fromkeys(("mu", "smoothing", "ema"), ("momentum",)),
    **dict.fromkeys(("min", "minimum", "lower"), ("low",)),
    **dict.fromkeys(("max", "maximum", "upper"), ("high",)),
    **dict.fromkeys(("image_size", "img_size", "resolution", "input_size", "side"), ("size",)),
    **dict.fromkeys(("num_workers", "n_workers"), ("workers",)),
    **dict.fromkeys(("steps", "epochs", "steps_at"), ("milestones",)),
    **dict.fromkeys(("factor", "lr_factor"), ("gamma",)),
    **dict.fromkeys(("patience",), ("epochs",)),
    **dict.fromkeys(("grace_period", "warmup"), ("grace",)),
    **dict.fromkeys(("reduction_factor",), ("reduction",)),
}
"""Unknown option of a plug-in to what one of another's that is meant may be called."""


def unknown_key(name: str, known: Collection[str], section: str) -> str:
    """Return what to say of an unknown key: where it belongs or what is meant, else the nearest name.

    Args:
        name: The key.
        known: Those that the section has.
        section: Its path; empty at the top of the file.
    """
    targets, remark = OTHER_KEYS.get(_plain(name), ((), ""))
    inside = [target for target in targets if target.rpartition(".")[0] == section]
    elsewhere = [path for path in key_paths() if path.rpartition(".")[2] == name]
    meant = " or ".join(inside or elsewhere or targets)
    if not meant:
        return f"unknown key; {did_you_mean(name, known)}"
    remark = f" ({remark})" if remark and (inside or not elsewhere) else ""
    return f"unknown key; see {meant}{remark}"


def unknown_option(name: str, known: Collection[str], advice: str) -> str:
    """Return the same of an unknown option of a plug-in that has those ``known``; ``advice`` where it tells nothing."""
    meant = next((option for option in OTHER_OPTIONS.get(_plain(name), ()) if option in known), None)
    return f"unknown option; see {meant}" if meant else f"unknown option; {advice}"


@functools.cache
def key_paths() -> tuple[str, ...]:
    """Return the path of every section and key of a study file."""
    paths = []
    for name, declared in fields_of(StudyFile).items():
        inner = fields_of(declared.section) if declared.section else ()
        paths += [name, *(f"{name}.{key}" for key in inner)]
    return tuple(paths)


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")
