"""Exported students give the same logits, for any number of images, from files that stand alone."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import kdstudy
from kdstudy.cli import run
from kdstudy.errors import ModelError, StoreError
from kdstudy.ledger import Ledger, StudyRecord, TrialRecord
from kdstudy.models import NetworkSpec, export
from kdstudy.models.export import FORMATS, export_student
from kdstudy.models.saved import load_student, save_student
from kdstudy.results import TrialResult
from kdstudy.storage import Store
from kdstudy.study import ArmId
from tests.confirmed import study_of

SHAPE = (3, 16, 16)


class Fickle(nn.Module):
    """A network whose layers depend on the values of the images: no program can be recorded."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        pooled = images.mean((2, 3))
        return self.fc(pooled if pooled.sum() > 0 else -pooled)


def write(directory: Path, name: str = "resnet8") -> Path:
    spec = NetworkSpec(name, {}, num_classes=10, image_shape=SHAPE, mean=(0.3,) * 3, std=(0.4,) * 3)
    save_student(spec.build(seed=5), directory, spec, {"provenance": {"study": "smoke"}})
    return directory


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return write(tmp_path / "student")


def images(rows: int) -> Tensor:
    return torch.rand(rows, *SHAPE, generator=torch.Generator().manual_seed(rows))


def require(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.mark.parametrize("own", [None, ["x"] * 10])
def test_what_the_record_knows_is_added_to_the_description(own: list[str] | None, saved: Path, tmp_path: Path) -> None:
    described = json.loads((saved / "student.json").read_text())
    if own is not None:
        (saved / "student.json").write_text(json.dumps({**described, "classes": own}))
    names = [f"class {number}" for number in range(10)]
    about = {"classes": names, "provenance": {"study_id": "smoke-1", "trial": 7}}
    export_student(saved, tmp_path / "out", "safetensors", about)
    exported = json.loads((tmp_path / "out" / "student.json").read_text())
    provenance = {"study": "smoke", "study_id": "smoke-1", "trial": 7}
    assert exported == {**described, "classes": own or names, "provenance": provenance}
    assert kdstudy.load_student(tmp_path / "out").class_names == tuple(own or names)


def test_safetensors_are_a_student_that_loads(saved: Path, tmp_path: Path) -> None:
    export_student(saved, tmp_path / "out", "safetensors")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "student.json",
        "student.safetensors",
    ]
    assert torch.equal(kdstudy.load_student(tmp_path / "out")(images(3)), load_student(saved)(images(3)))


@pytest.mark.parametrize("name", ["resnet8", pytest.param("shufflenetv2", marks=pytest.mark.slow)])
def test_a_program_gives_the_same_logits_for_any_number_of_images(tmp_path: Path, name: str) -> None:
    saved, target = write(tmp_path / "student", name), tmp_path / "deep" / "student.pt2"
    export_student(saved, target, "torch")
    assert [path.name for path in target.parent.iterdir()] == ["student.pt2"], "no temporary file stays"
    extra = {"kdstudy.json": ""}
    program = torch.export.load(target, extra_files=extra).module()
    module = load_student(saved)
    for rows in (1, 2, 5):
        torch.testing.assert_close(program(images(rows)), module(images(rows)), rtol=1e-5, atol=1e-6)
    assert json.loads(extra["kdstudy.json"])["provenance"] == {"study": "smoke"}


@pytest.mark.parametrize("name", ["resnet8", "vgg8", pytest.param("mobilenetv2", marks=pytest.mark.slow)])
def test_onnx_gives_the_same_logits_for_any_number_of_images(tmp_path: Path, name: str) -> None:
    require("onnx", "onnxscript", "onnxruntime")
    import onnx
    import onnxruntime

    saved, target = write(tmp_path / "student", name), tmp_path / "student.onnx"
    export_student(saved, target, "onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"student", "student.onnx"}, "one file"
    onnx.checker.check_model(target)
    (described,) = onnx.load(target).metadata_props
    assert (described.key, json.loads(described.value)["model"]) == ("kdstudy", name)
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    module = load_student(saved)
    for rows in (1, 2, 5):
        (logits,) = session.run(["logits"], {"images": images(rows).numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), module(images(rows)), rtol=1e-4, atol=1e-5)


def test_missing_packages_name_the_extra(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_ONNX_PACKAGES", ("no_such_package", "torch"))
    with pytest.raises(ModelError, match=r"needs no_such_package; run pip install 'kdstudy\[export\]'"):
        export_student(saved, tmp_path / "student.onnx", "onnx")


def test_a_network_that_cannot_be_recorded_is_one_line(tmp_path: Path) -> None:
    saved = write(tmp_path / "student", f"{__name__}:Fickle")
    with pytest.raises(ModelError, match=r"cannot be recorded as a program.*choose --format safetensors") as caught:
        export_student(saved, tmp_path / "out.pt2", "torch")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.pt2").exists()


def test_a_target_that_cannot_be_written_is_one_line(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        export_student(saved, tmp_path / "file" / "out.pt2", "torch")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A study of two trials: 0 completed, with a student, and 1 diverged."""
    store = Store.at(str(tmp_path / "store"))
    store.create()
    with Ledger(store.ledger_url) as ledger:
        study = study_of({"kd/constant": []}, "seeds: 1")
        ledger.create_study(replace(StudyRecord.of(study, {}), id="smoke-0123abcd"))
        for number, result in enumerate(
            (TrialResult("completed", epochs=1, val=0.9), TrialResult("diverged", epochs=0))
        ):
            ledger.add_trial(TrialRecord("smoke-0123abcd", number, "search", ArmId("kd", "constant"), number, 1, 2))
            ledger.start_trial("smoke-0123abcd", number)
            ledger.finish_trial("smoke-0123abcd", number, result)
    write(store.local / "studies" / "smoke-0123abcd" / "0" / "student")
    return store


def command(store: Store, *arguments: str) -> int:
    return run(["export", "latest", *arguments, "--store", str(store.local)])


def test_the_command_exports_the_best_trial(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "best"
    assert command(store, "--format", "safetensors", "-o", str(target), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "study_id": "smoke-0123abcd", "trial": 0, "format": "safetensors", "path": str(target),
        "differences": []}  # fmt: skip
    assert load_student(target)(images(2)).shape == (2, 10)


def test_without_a_trial_it_exports_the_student_to_take_home_and_says_why(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(store, "--format", "safetensors", "-o", str(tmp_path / "first")) == 0
    assert "trial 0 (kd/constant), as safetensors; the best of the search on validation" in capsys.readouterr().out
    with Ledger(store.ledger_url) as ledger:  # the best search trial is still trial 0
        ledger.add_trial(TrialRecord("smoke-0123abcd", 2, "confirm", ArmId("kd", "constant"), 0, 1, 2))
        ledger.finish_trial("smoke-0123abcd", 2, TrialResult("completed", epochs=1, val=0.8, test=0.7))
        ledger.update_study("smoke-0123abcd", status="finished")
    write(store.local / "studies" / "smoke-0123abcd" / "2" / "student")
    assert command(store, "--format", "safetensors", "-o", str(tmp_path / "second")) == 0
    assert "trial 2 (kd/constant), as safetensors; the student to take home: kd/constant is the best arm on" in (
        capsys.readouterr().out
    )
    assert command(store, "--format", "safetensors", "-o", str(tmp_path / "third"), "--trial", "0") == 0
    assert capsys.readouterr().out.endswith("trial 0 (kd/constant), as safetensors\n")
    assert run(["show", "latest", "--yaml", "--store", str(store.local)]) == 1  # these trials have no configuration
    assert "trial 2 (kd/constant); the student to take home" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--format", "torch", "-o", "x", "--trial", "1"), 1, "trial 1 is diverged and has no student"),
        (("--format", "torch", "-o", "x", "--trial", "7"), 1, "7"),
        (("--format", "torch"), 2, "--output"),
        (("--format", "keras", "-o", "x"), 2, "safetensors"),
    ],
)
def test_what_cannot_be_exported_is_said(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...], code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert command(store, *arguments) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "x").exists()


def test_the_command_offers_every_format() -> None:
    from kdstudy.cli.export import export_command

    (choice,) = (option.type for option in export_command.params if option.name == "form")
    assert tuple(choice.choices) == FORMATS
