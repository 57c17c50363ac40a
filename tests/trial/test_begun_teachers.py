"""Teachers and students that begin with weights: as they are, their last layer trained, all of it fine-tuned."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from kdstudy.errors import ModelError
from kdstudy.plugins import allow_plugins
from kdstudy.study import PluginSpec, TrialConfig
from kdstudy.trial import dataset_of, inspect_parts, run_trial, students_weights
from kdstudy.trial.teacher import find_teacher, open_teacher, prepare_teacher
from tests.begun import PLUGIN, weights_file
from tests.configs import trial_config
from tests.data.layouts import CLASSES, make_folders

FOUR = 4  # classes of the data


@pytest.fixture(autouse=True)
def _allowed() -> None:
    allow_plugins("tests")


def taught_by(file: Path | str, **teacher: object) -> TrialConfig:
    config = trial_config(base_lr=0.05)
    model = PluginSpec(PLUGIN, {"weights": str(file)})
    changes = {"model": model, "epochs": None, "allow_weak": True, **teacher}
    return dataclasses.replace(config, teacher=dataclasses.replace(config.teacher, **changes))


def test_with_the_classes_of_the_data_it_is_taken_as_it_is(tmp_path: Path) -> None:
    file = weights_file(tmp_path / "w.pt", classes=FOUR)
    teacher = prepare_teacher(taught_by(file), tmp_path / "t")
    assert (teacher.epochs, teacher.seen, list(teacher.weights)) == (0, True, ["tiny"])
    own, given = open_teacher(tmp_path / "t" / teacher.key).state_dict(), torch.load(file)
    assert all(torch.equal(own[name], value) for name, value in given.items())
    assert own["normalise.mean"].item() == 0.25, "the weights', not the data's"


@pytest.mark.parametrize(("key", "changed"), [("head_epochs", {"fc.weight", "fc.bias"}), ("epochs", None)])
def test_for_other_classes_it_is_trained_from_the_weights(tmp_path: Path, key: str, changed: set[str] | None) -> None:
    file = weights_file(tmp_path / "w.pt")
    teacher = prepare_teacher(taught_by(file, **{key: 2}), tmp_path / "t")
    assert (teacher.epochs, teacher.seen, list(teacher.weights)) == (2, True, ["tiny"])
    own, given = open_teacher(tmp_path / "t" / teacher.key).state_dict(), torch.load(file)
    differing = {name for name, value in given.items() if not torch.equal(own[name], value)}
    assert (differing == changed) if changed else {"conv1.weight", "fc.weight"} < differing
    again = prepare_teacher(taught_by(file, **{key: 2}), tmp_path / "again")
    assert again.sha256 == teacher.sha256


def test_it_is_known_by_what_is_in_the_file_wherever_that_lies(tmp_path: Path) -> None:
    file = weights_file(tmp_path / "w.pt", classes=FOUR)
    first = prepare_teacher(taught_by(file), tmp_path / "t")
    moved = file.rename(tmp_path / "moved.pt")
    assert prepare_teacher(taught_by(moved), tmp_path / "t") == first
    weights_file(moved, classes=FOUR, seed=6)
    other = prepare_teacher(taught_by(moved), tmp_path / "t")
    assert (other.key != first.key, other.weights != first.weights) == (True, True)


def test_what_an_earlier_version_kept_of_a_teacher_is_read(tmp_path: Path) -> None:
    teacher = prepare_teacher(trial_config(), tmp_path)
    kept = json.loads((tmp_path / teacher.key / "teacher.json").read_text())
    assert "weights" not in kept
    assert find_teacher(tmp_path / teacher.key) == teacher


def faults(config: TrialConfig) -> str:
    return "; ".join(": ".join(fault.told()) for fault in inspect_parts([config]).faults)


@pytest.mark.parametrize(
    ("classes", "teacher", "told"),
    [
        (10, {}, "teacher: 'tiny' tells 10 classes apart.*write head_epochs: 5"),
        (None, {}, "teacher: needs weights, and its model brings none"),
        (None, {"head_epochs": 1}, "teacher: needs weights|teacher.head_epochs: trains the last layer alone"),
        (FOUR, {"mean": (0.1,), "std": (0.2,)}, r"teacher.mean: 'tiny' brings mean \[0.25\]"),
    ],
)
def test_what_cannot_be_is_found_before_anything_is_trained(
    tmp_path: Path, classes: int | None, teacher: dict[str, object], told: str
) -> None:
    file = "none" if classes is None else weights_file(tmp_path / "w.pt", classes=classes)
    config = taught_by(file, **teacher)
    with pytest.raises(ModelError, match=told):
        raise ModelError(faults(config))
    with pytest.raises(ModelError, match=told):
        prepare_teacher(config, tmp_path / "t")


def test_check_tells_what_networks_begin_with_and_may_have_seen(tmp_path: Path) -> None:
    config = taught_by(weights_file(tmp_path / "w.pt", classes=FOUR))
    config = dataclasses.replace(config, student=dataclasses.replace(config.student, model=config.teacher.model))
    found = inspect_parts([config])
    assert not found.faults
    for owner in ("teacher", "student"):
        assert any(note.startswith(f"{owner}: begins with 'tiny', sha256 ") for note in found.notes)
        assert any(line.startswith(f"{owner}: the weights 'tiny' may have been trained") for line in found.warnings)


@pytest.mark.parametrize("held_out", ["test", "val", None])
def test_check_tells_that_test_images_were_training_images_elsewhere(tmp_path: Path, held_out: str | None) -> None:
    make_folders(tmp_path / "pictures", train=10, test=4, held_out=held_out or "none")
    if held_out is None:
        shutil.rmtree(tmp_path / "pictures" / "none")
    config = taught_by(weights_file(tmp_path / "w.pt", classes=len(CLASSES), channels=3))
    options = {"size": 8}
    data = dataclasses.replace(config.data, name="imagefolder", root=str(tmp_path / "pictures"), options=options)
    found = inspect_parts([dataclasses.replace(config, data=data)])
    told = [line for line in found.warnings if "a network trained elsewhere on all of these has seen them" in line]
    assert [line.partition(":")[0] for line in told] == ["teacher"] * (held_out is None)


def test_a_student_begins_with_them_in_every_trial_and_the_seed_makes_its_head(tmp_path: Path) -> None:
    file = weights_file(tmp_path / "w.pt")
    model = PluginSpec(PLUGIN, {"weights": str(file)})
    config = trial_config("none", epochs=1)
    config = dataclasses.replace(config, student=dataclasses.replace(config.student, model=model))
    first, again, other = (
        run_trial(dataclasses.replace(config, init_seed=seed), lambda *_: None).weights_sha256 for seed in (1, 1, 2)
    )
    assert first == again != other
    (named,) = students_weights([config, config], dataset_of(config, with_test=False)).items()
    assert named[0] == "tiny" and len(named[1]) == 64
