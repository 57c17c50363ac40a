"""The teacher: trained once per study, or loaded, then kept in the store under a hash of everything it depends on.

A teacher trained here is a trial like any other (transfer ``none``, policy ``constant``), so there is one loop.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final, get_type_hints

import torch
from torch import nn

from kdstudy.data import Dataset
from kdstudy.errors import ModelError
from kdstudy.models import (
    NetworkSpec,
    fit_weights,
    load_student,
    pretrained_of,
    read_file,
    read_weights,
    save_student,
)
from kdstudy.seeds import teacher_seed
from kdstudy.storage import Folder, folder_at, node_folder
from kdstudy.study import CacheConfig, NumericsConfig, PluginSpec, StudentConfig, TrainConfig, TrialConfig, check
from kdstudy.training import chance_score, weights_sha256
from kdstudy.trial.began import began_with, require_source, weights_named
from kdstudy.trial.build import dataset_of, student_spec, teacher_spec
from kdstudy.trial.run import run_trial
from kdstudy.trial.teacher_score import finite_score, score_on, weakness


@final
@dataclass(frozen=True)
class Teacher:
    """A teacher in the store.

    Args:
        key: Hash of all that it depends on; its folder's name.
        sha256: Hash of its weights.
        val: Validation score in [0, 1].
        seen: Whether it may have been trained on the validation images (always true for a loaded teacher, and for
            one that began with weights).
        epochs: Epochs trained here; 0 for a loaded teacher.
        seconds: Wall time of that training.
        weights: The file that its training, here or elsewhere, began with: name of the weights to sha256; empty where
            it began with none.
    """

    key: str
    sha256: str
    val: float
    seen: bool
    epochs: int
    seconds: float
    weights: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; weights only where it began with some."""
        return {name: value for name, value in asdict(self).items() if name != "weights" or value}


def prepare_teacher(config: TrialConfig, teachers: Path | Folder) -> Teacher:
    """Return the study's teacher, training or loading it unless the store already has it.

    Args:
        config: Any trial of the study; its arm, search and seeds do not matter.
        teachers: The store's folder of teachers.

    Raises:
        ModelError: A file does not fit the network, or cannot be had; or the teacher scores near chance (and
            ``allow_weak`` is false).
    """
    config = config.as_study
    data = dataset_of(config, with_test=False)
    key = teacher_key(config, data)
    folder = folder_at(teachers) / key
    found = find_teacher(folder)
    if found is None:
        trained = config.teacher.trained_epochs > 0
        found = _train(config, data, folder, key) if trained else _load(config, data, folder, key)
        folder.write("teacher.json", json.dumps(found.to_json(), indent=1).encode())
    _refuse_weak(config, found, data)
    return found


def teacher_folder(config: TrialConfig, teachers: Path | Folder, key: str | None) -> Folder:
    """Return the folder of the teacher a study began with; where it is gone, or new, that of one prepared now.

    Args:
        config: Any trial of the study.
        teachers: The store's folder of teachers.
        key: Of the recorded teacher, if there is one.

    Raises:
        ModelError: As `prepare_teacher`.
    """
    place = folder_at(teachers)
    if key is not None and find_teacher(place / key) is not None:
        return place / key
    return place / prepare_teacher(config, place).key


def find_teacher(folder: Path | Folder) -> Teacher | None:
    """Return the teacher kept in ``folder``, or None if it is not (or not wholly, or not undamaged) there."""
    place = folder_at(folder)
    description = place.read("teacher.json")
    try:
        values = json.loads(description or b"")
        kinds = {name: kind for name, kind in get_type_hints(Teacher).items() if name in values or name != "weights"}
        found = Teacher(**{name: check(kind, values[name])[0] for name, kind in kinds.items()})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    whole = None not in asdict(found).values() and values.keys() == kinds.keys()
    return found if whole and found.key == place.name else None


def open_teacher(folder: Path | Folder) -> nn.Module:
    """Return the teacher's network with its weights, on the CPU, in eval mode, frozen.

    From a bucket it is brought to this machine once, and verified each time it is opened.

    Raises:
        ModelError: The weights are missing, or are not those recorded.
    """
    place = folder_at(folder)
    found = find_teacher(place)
    if found is None:
        raise ModelError(f"teacher: {folder} holds no teacher; run or resume the study to prepare it again")
    copy = (place / "student").on_disk(node_folder())
    module = load_student(copy).requires_grad_(False)
    if weights_sha256(module) != found.sha256:
        raise ModelError(
            f"teacher: the weights in {copy} are not those recorded; delete the folder to prepare it again"
        )
    return module


def score_teacher(config: TrialConfig, teachers: Path | Folder, key: str) -> float | None:
    """Return the teacher's test score: the study's difficulty is 1 minus it. For the confirmation phase only.

    None where its answers are not finite numbers.
    """
    data = dataset_of(config, with_test=True)
    assert data.test is not None
    return score_on(config, open_teacher(folder_at(teachers) / key), data.test)


def teacher_key(config: TrialConfig, data: Dataset) -> str:
    """Return the hash of everything the teacher's weights depend on."""
    teacher = dataclasses.asdict(config.teacher)
    teacher.pop("allow_weak")
    if teacher["head_epochs"] is None:
        del teacher["head_epochs"]  # earlier versions, whose teachers are kept, did not know it
    began = None if config.teacher.path else began_with(teacher_spec(config, data))
    if began is not None:
        teacher["began"] = began.sha256
        teacher["model"]["options"].pop("weights", None)
    if config.teacher.path is not None:
        teacher["path"] = hashlib.sha256(read_file(Path(config.teacher.path))).hexdigest()
        basis: dict[str, Any] = {"teacher": teacher, "data": data.fingerprint}
    elif not config.teacher.trained_epochs:
        basis = {"teacher": teacher, "data": data.fingerprint}
    else:
        basis = {
            "teacher": teacher,
            "data": data.fingerprint,
            "augment": [each.to_yaml() for each in config.data.augmentations] or config.data.augment,
            "seed": teacher_seed(config.split_seed),
            "cpus": config.resources.cpus,
            "gpu": config.resources.gpus > 0,
            "torch": torch.__version__,
        }
    return hashlib.sha256(json.dumps(basis, sort_keys=True, default=str).encode()).hexdigest()[:16]


def teacher_trial(config: TrialConfig) -> TrialConfig:
    """Return the plain training run that makes the teacher."""
    teacher = config.teacher
    seed = teacher_seed(config.split_seed)
    return dataclasses.replace(
        config,
        student=StudentConfig(model=teacher.model),
        train=TrainConfig(
            epochs=teacher.trained_epochs,
            batch_size=teacher.batch_size,
            base_lr=teacher.base_lr,
            weight_decay=teacher.weight_decay,
            momentum=0.9,
            nesterov=False,
            schedule=PluginSpec("cosine", {}),
        ),
        transfer=PluginSpec("none", {}),
        policy=PluginSpec("constant", {}),
        layers="auto",
        numerics=NumericsConfig(),
        cache=CacheConfig(mode="off"),
        resources=dataclasses.replace(config.resources, ranks=1),
        data_seed=seed,
        init_seed=seed,
    )


def _train(config: TrialConfig, data: Dataset, folder: Folder, key: str) -> Teacher:
    head_only = config.teacher.head_epochs is not None
    trial = teacher_trial(config)
    began = weights_named(began_with(student_spec(trial, data)))
    result = run_trial(trial, lambda _record, _result: None, folder=folder, head_only=head_only)
    if result.state != "completed" or result.val is None or result.weights_sha256 is None:
        raise ModelError(
            f"teacher: its training diverged in epoch {result.epochs + 1}: {result.error}; lower teacher.base_lr "
            f"(now {config.teacher.base_lr})"
        )
    epochs, seconds = result.epochs, result.seconds
    return Teacher(key, result.weights_sha256, result.val, bool(began), epochs, seconds, began)


def _load(config: TrialConfig, data: Dataset, folder: Folder, key: str) -> Teacher:
    spec = teacher_spec(config, data)
    module, _ = filled_teacher(config, spec)
    known = pretrained_of(module)
    val = finite_score(config, module, data.val)
    save_student(module, folder / "student", spec)
    began = {} if config.teacher.path else weights_named(known)
    return Teacher(key, weights_sha256(module), val, seen=True, epochs=0, seconds=0.0, weights=began)


def filled_teacher(config: TrialConfig, spec: NetworkSpec) -> tuple[nn.Module, str]:
    """Return the network with the weights of the teacher's file, and a line on what was made of it, maybe empty.

    Args:
        config: Any trial of a study whose teacher is loaded, or taken as its model gives it.
        spec: The teacher's network.

    Raises:
        ModelError: The file cannot be read, or does not fit; or the model gives no weights for these classes.
    """
    teacher, module = config.teacher, spec.build(seed=0)
    require_source(config, module)
    if teacher.path is None:
        return module, ""
    weights = read_weights(Path(teacher.path))
    made = fit_weights(module, weights, teacher.key_map, where=teacher.path, num_classes=spec.num_classes)
    return module, made


def _refuse_weak(config: TrialConfig, teacher: Teacher, data: Dataset) -> None:
    weak = weakness(config, data, teacher.val, chance_score(data.val.labels, data.num_classes))
    if weak is not None:
        raise ModelError(f"teacher: {weak}")
