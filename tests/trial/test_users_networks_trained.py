"""Users' networks in trials: repeated and resumed bit for bit, and tried before the teacher is trained."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdstudy.cluster.prepare import ImagesToVerify, prepare_in_worker
from kdstudy.errors import ModelError, StudyError
from kdstudy.models import build_model
from kdstudy.plugins import allow_plugins
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.storage import folder_at
from kdstudy.study import PluginSpec, StudentConfig, TrialConfig, parse_study
from kdstudy.trial import inspect_parts, run_corners, run_pack, run_trial
from tests.configs import TEXT, trial_config


@pytest.fixture(autouse=True)
def _allowed() -> None:
    allow_plugins("tests")


class Dropping(nn.Module):
    """Drops channels by NumPy's generator and scales by Python's, in its forward pass; its head is lazy."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 8, 3, stride=2, padding=1)
        self.top = nn.LazyLinear(num_classes)

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x).relu().mean((2, 3))
        if self.training:
            x = x * torch.from_numpy(np.random.rand(8) < 0.7) * random.uniform(0.9, 1.1)
        return self.top(x)


class Auxiliary(Dropping):
    """Gives two rows of logits in training mode."""

    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return (logits, logits) if self.training else logits


class Failing(nn.Module):
    """Cannot be built."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.top = nn.Linear(in_channels, "many")  # type: ignore[arg-type]


def config_of(factory: type[nn.Module], **changes: Any) -> TrialConfig:
    student = StudentConfig(PluginSpec(f"{__name__}:{factory.__name__}", {}))
    return dataclasses.replace(trial_config("none"), student=student, **changes)


class StopError(Exception):
    """Ends a trial between two epochs."""


def trained(config: TrialConfig, folder: Path | None = None, stop_after: int = 99) -> TrialResult:
    def report(record: EpochRecord, _result: TrialResult | None) -> None:
        if record.epoch >= stop_after:
            raise StopError

    return run_trial(config, report, folder=folder)


def test_random_forward_passes_are_resumed_bit_for_bit_and_put_generators_back(tmp_path: Path) -> None:
    config = config_of(Dropping)
    np.random.seed(1)
    random.seed(1)
    before = np.random.rand(), random.random()
    np.random.seed(1)
    random.seed(1)
    whole = trained(config)
    assert (np.random.rand(), random.random()) == before
    with pytest.raises(StopError):
        trained(config, tmp_path, stop_after=1)
    assert trained(config, tmp_path).weights_sha256 == whole.weights_sha256
    other = trained(dataclasses.replace(config, init_seed=99))
    assert other.weights_sha256 != whole.weights_sha256


def test_a_packs_members_draw_as_they_would_alone() -> None:
    configs = {number: config_of(Dropping, init_seed=number) for number in (1, 2)}
    alone = {number: trained(config).weights_sha256 for number, config in configs.items()}
    results: dict[int, str | None] = {}

    def report(number: int, _record: EpochRecord | None, result: TrialResult | None) -> bool:
        if result is not None:
            results[number] = result.weights_sha256
        return True

    run_pack(configs, report)
    assert results == alone


def pairs(*named: tuple[str, str]) -> dict[str, Any]:
    return {"layers": named}


@pytest.mark.parametrize(
    ("student", "changes", "message"),
    [
        ("Auxiliary", {}, "gives tuple of 2 in training mode"),
        ("Failing", {}, "cannot be built \\(TypeError: .*`kdstudy --debug` shows where"),
        (None, pairs(("layr2", "layer2")), "the student has no layer 'layr2'.*did you mean 'layer2'"),
        (None, pairs(("layer2", "midd")), "the teacher has no layer 'midd'"),
        (None, pairs(("fc", "layer2")), r"layer 'fc' gives shape \(4,\)"),
        (None, {"path": "/no/such/teacher.pt"}, "teacher.path: /no/such/teacher.pt cannot be read"),
    ],
)
def test_what_cannot_work_is_found_before_the_teacher_is_trained(
    tmp_path: Path, student: str | None, changes: dict[str, Any], message: str
) -> None:
    config = trial_config()
    if student is not None:
        config = dataclasses.replace(config, student=StudentConfig(PluginSpec(f"{__name__}:{student}", {})))
    if path := changes.pop("path", None):
        config = dataclasses.replace(config, teacher=dataclasses.replace(config.teacher, path=path, epochs=None))
    config = dataclasses.replace(config, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        inspect_parts([config]).raise_faults()
    assert "\n" not in str(caught.value)
    found = prepare_in_worker([config.to_json()], folder_at(tmp_path), None, ImagesToVerify(1))
    assert found["error"] == f"{caught.value}; nothing was trained"
    assert ("Traceback" in (found["cause"] or "")) == (caught.value.__cause__ is not None)
    assert not [*tmp_path.iterdir()]


def test_a_teacher_that_is_loaded_is_not_asked_to_train(tmp_path: Path) -> None:
    """One with auxiliary outputs in training mode is a good teacher; what is made of its file is said."""
    base = trial_config()
    model = PluginSpec(f"{__name__}:Auxiliary", {})
    weights = build_model(
        model.name, {}, num_classes=4, image_shape=(1, 8, 8), mean=(0.5,), std=(0.5,), seed=1
    ).state_dict()
    path = tmp_path / "teacher.pt"
    torch.save({"net": weights}, path)
    teacher = dataclasses.replace(base.teacher, model=model, path=str(path), epochs=None, allow_weak=True)
    config = dataclasses.replace(base, teacher=teacher, layers=(("layer2", "conv"),))
    inspected = inspect_parts([config, config])
    assert (inspected.faults, inspected.notes[0]) == ([], f"teacher.path: {path}: took 'net'")
    with pytest.raises(ModelError, match="in training mode"):
        inspect_parts(
            [dataclasses.replace(config, teacher=dataclasses.replace(teacher, path=None, epochs=1))]
        ).raise_faults()


def test_every_student_of_a_choice_is_tried() -> None:
    text = TEXT.format(epochs=1, base_lr=0.1, transfer="attention", policy="constant").replace(
        "student: {model: resnet8}", f"student: {{model: {{choice: [resnet8, '{__name__}:Auxiliary']}}}}"
    )
    study = parse_study(text, "tiny.yaml")
    with pytest.raises(ModelError, match="Auxiliary' gives tuple"):
        inspect_parts(study.student_corners()).raise_faults()
    with pytest.raises(StudyError, match=r"attention/constant at its last ends: .*Auxiliary' gives tuple") as caught:
        run_corners(study)
    assert len(caught.value.problems) == 1


def test_the_teacher_may_be_trained_where_all_can_work() -> None:
    assert inspect_parts([trial_config()]).faults == []
