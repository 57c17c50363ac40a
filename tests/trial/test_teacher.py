"""Teachers: trained once, found again by content, loaded from strangers without running their code."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kdstudy.errors import ModelError
from kdstudy.training import weights_sha256
from kdstudy.trial import inspect_parts
from kdstudy.trial.teacher import open_teacher, prepare_teacher, score_teacher
from tests.configs import fresh_teacher, trial_config


def with_teacher(**changes):
    config = trial_config()
    return dataclasses.replace(config, teacher=dataclasses.replace(config.teacher, **changes))


def trained(tmp_path: Path):
    config = with_teacher(epochs=3)
    return config, prepare_teacher(config, tmp_path)


def test_it_is_trained_once_and_found_again_whatever_the_arm(tmp_path: Path) -> None:
    config, teacher = trained(tmp_path)
    assert teacher.val > 0.5
    assert not teacher.seen
    stamp = (tmp_path / teacher.key / "teacher.json").stat().st_mtime_ns
    other = dataclasses.replace(trial_config("none", "decay", data_seed=1, init_seed=2), teacher=config.teacher)
    assert prepare_teacher(other, tmp_path) == teacher
    assert (tmp_path / teacher.key / "teacher.json").stat().st_mtime_ns == stamp
    longer = prepare_teacher(with_teacher(epochs=4), tmp_path)
    assert longer.key != teacher.key


def test_training_it_again_gives_the_same_weights(tmp_path: Path) -> None:
    _, first = trained(tmp_path / "a")
    _, second = trained(tmp_path / "b")
    assert first.sha256 == second.sha256


def test_opened_teachers_are_verified_frozen_and_in_eval_mode(tmp_path: Path) -> None:
    _, teacher = trained(tmp_path)
    module = open_teacher(tmp_path / teacher.key)
    assert weights_sha256(module) == teacher.sha256
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    save_file(
        {name: value + 1e-3 if value.is_floating_point() else value for name, value in module.state_dict().items()},
        tmp_path / teacher.key / "student" / "student.safetensors",
    )
    with pytest.raises(ModelError, match="not those recorded"):
        open_teacher(tmp_path / teacher.key)


def test_its_test_score_is_a_fraction(tmp_path: Path) -> None:
    config, teacher = trained(tmp_path)
    assert 0.5 < score_teacher(config, tmp_path, teacher.key) <= 1


@pytest.mark.parametrize("style", ["safetensors", "state_dict", "wrapped", "renamed"])
def test_every_usual_file_of_weights_loads(tmp_path: Path, style: str) -> None:
    _, teacher = trained(tmp_path / "made")
    state = open_teacher(tmp_path / "made" / teacher.key).state_dict()
    key_map: dict[str, str] = {}
    path = tmp_path / "weights.pt"
    if style == "safetensors":
        path = tmp_path / "weights.safetensors"
        save_file(state, path)
    elif style == "state_dict":
        torch.save(state, path)
    elif style == "wrapped":
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}, "best": 0.9}, path)
    else:
        torch.save({name.replace("fc.", "linear."): value for name, value in state.items()}, path)
        key_map = {"linear": "fc"}
    config = with_teacher(epochs=None, path=str(path), key_map=key_map)
    loaded = prepare_teacher(config, tmp_path / "loaded")
    assert loaded.sha256 == teacher.sha256
    assert loaded.val == teacher.val
    assert loaded.seen, "nobody knows what a loaded teacher has seen"
    assert inspect_parts([config]).notes[-1].startswith(f"teacher: validation {loaded.val:.4f} on ")


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"not weights", "neither safetensors nor"),
        ("bomb", "holds more than tensors"),
        ("list", "holds no state dict"),
        ("other", "does not fit the network"),
    ],
)
def test_a_file_that_is_no_teacher_is_one_line(tmp_path: Path, content, message: str) -> None:
    path = tmp_path / "weights.pt"
    if content == "bomb":
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "ran"), protocol=2))
    elif content == "list":
        torch.save([1, 2], path)
    elif content == "other":
        torch.save({"weight": torch.zeros(3)}, path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as error:
        prepare_teacher(with_teacher(epochs=None, path=str(path)), tmp_path / "teachers")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "teachers").exists()


def test_a_teacher_near_chance_is_refused_unless_allowed(tmp_path: Path) -> None:
    path = tmp_path / "weak.safetensors"
    module = fresh_teacher()
    with torch.no_grad():
        module.fc.weight.zero_()
    save_file(module.state_dict(), path)
    with pytest.raises(ModelError, match="near chance"):
        prepare_teacher(with_teacher(epochs=None, path=str(path)), tmp_path)
    assert prepare_teacher(with_teacher(epochs=None, path=str(path), allow_weak=True), tmp_path).val < 0.5
