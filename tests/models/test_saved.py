from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import kdstudy
from kdstudy.errors import ModelError
from kdstudy.models import NetworkSpec
from kdstudy.models.saved import load_student, save_student

SPEC = NetworkSpec("resnet8", {}, num_classes=10, image_shape=(1, 8, 8), mean=(0.3,), std=(0.4,))
ABOUT: dict[str, Any] = {"layers": ["layer1"], "provenance": {"study_id": "smoke-0123abcd", "trial": 7}}
CONFIG: dict[str, Any] = {  # as every version has written it
    "model": "resnet8", "options": {}, "num_classes": 10, "image_shape": [1, 8, 8],
    "mean": [0.3], "std": [0.4], "layers": ["layer1"],
    "provenance": {"study_id": "smoke-0123abcd", "trial": 7},
}  # fmt: skip


def student(seed: int = 5) -> torch.nn.Module:
    return SPEC.build(seed).eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_student(student(), tmp_path / "student", SPEC, ABOUT)
    return tmp_path / "student"


def rewrite(saved: Path, **changes: Any) -> None:
    config = json.loads((saved / "student.json").read_text()) | changes
    (saved / "student.json").write_text(json.dumps(config))


def test_a_loaded_student_gives_the_same_logits_bit_for_bit(saved: Path) -> None:
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    loaded = kdstudy.load_student(saved)
    assert not loaded.training
    assert torch.equal(loaded(images), student()(images))


def test_a_student_knows_the_names_of_its_classes(tmp_path: Path) -> None:
    names = [f"digit {number}" for number in range(10)]
    save_student(student(), tmp_path, SPEC, {**ABOUT, "classes": names})
    assert load_student(tmp_path).class_names == tuple(names)


def test_a_student_of_an_earlier_version_has_no_names(saved: Path) -> None:
    assert load_student(saved).class_names == ()


@pytest.mark.parametrize("classes", [["one"], "0123456789", list(range(10)), {"a": 1}])
def test_names_that_are_not_those_of_the_classes_are_one_line(classes: Any, saved: Path) -> None:
    rewrite(saved, classes=classes)
    with pytest.raises(ModelError, match=r"student\.json: classes must be a list of 10 names, or empty; save"):
        load_student(saved)


def test_only_two_files_of_numbers_and_names_are_written(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["student.json", "student.safetensors"]
    assert json.loads((saved / "student.json").read_text()) == {"format": 1, **CONFIG}


def test_saving_again_replaces(saved: Path) -> None:
    save_student(student(seed=6), saved, SPEC)
    assert torch.equal(next(load_student(saved).parameters()), next(student(seed=6).parameters()))


def test_a_configuration_must_be_complete_and_plain(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="here: lacks std; save"):
        NetworkSpec.from_json({key: value for key, value in CONFIG.items() if key != "std"}, "here")
    with pytest.raises(ModelError, match="not plain JSON"):
        save_student(student(), tmp_path, replace(SPEC, mean=(float("nan"),)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2 is not 1"),
        ({"image_shape": [1, 8]}, "does not describe a network"),
        ({"num_classes": 7}, "the weights do not fit the network of student.json"),
        ({"mean": "often"}, "does not describe a network"),
    ],
)
def test_a_changed_configuration_is_one_line(saved: Path, changes: dict[str, Any], message: str) -> None:
    rewrite(saved, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        load_student(saved)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_one_line(saved: Path) -> None:
    (saved / "student.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelError, match=r"student\.safetensors: cannot be read"):
        load_student(saved)
    (saved / "student.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        load_student(saved)
    with pytest.raises(ModelError, match=r"holds no student\.json"):
        load_student(saved.parent)


def test_a_stranger_cannot_make_us_import_a_module(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    rewrite(saved, model="evil:Net")
    with pytest.raises(ModelError, match=r"'evil:Net' is code outside kdstudy.* set KDSTUDY_ALLOW_PLUGINS=evil"):
        load_student(saved)
    assert not (tmp_path / "ran").exists()
    kdstudy.allow_plugins("evil")
    with pytest.raises(ModelError, match="has no attribute 'Net'"):
        load_student(saved)
    assert (tmp_path / "ran").exists()


def test_the_package_is_light_until_the_loader_is_used() -> None:
    light = "import sys, kdstudy; assert 'torch' not in sys.modules; "
    code = light + "kdstudy.load_student; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kdstudy.nothing  # type: ignore[attr-defined]
