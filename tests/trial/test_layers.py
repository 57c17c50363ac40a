"""`kdstudy check --layers`: what is paired, for every student that the study may build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import Tensor, nn

from kdstudy.cli import run
from kdstudy.study import parse_study
from kdstudy.trial.layers import matched_layers

TEXT = """
name: tiny
seed: 3
data: {{name: synthetic, val_fraction: 0.25}}
teacher: {{model: resnet20, epochs: 1}}
student: {{model: {student}}}
train: {{epochs: 1, batch_size: 32, base_lr: {{log: [0.01, 0.1]}}}}
arms: {{transfers: [attention], policies: [constant]}}
search: {{trials_per_arm: 1}}
confirm: {{seeds: 0}}
layers: {layers}
"""


class Flat(nn.Module):
    """A network without maps."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.mean((2, 3)))


def study_file(tmp_path: Path, student: str = "resnet8", layers: str = "auto") -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(TEXT.format(student=student, layers=layers))
    return path


def test_pairs_are_shown_with_shapes_and_parameters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(study_file(tmp_path)), "--layers", "--json"]) == 0
    (matched,) = json.loads(capsys.readouterr().out)["layers"]
    assert matched["student"] == {"resnet8": {"shortcut": "B"}}
    assert [layer["student"] for layer in matched["layers"]] == ["layer1", "layer2", "layer3"]
    shapes = [layer["student_shape"] for layer in matched["layers"]]
    assert shapes == [[16, 8, 8], [32, 4, 4], [64, 2, 2]]
    assert shapes == [layer["teacher_shape"] for layer in matched["layers"]]
    # A stem of 1 x 16 x 9 weights and two convolutions of 16 x 16 x 9, each with a norm of 2 x 16.
    assert matched["layers"][0]["parameters"] == 1 * 16 * 9 + 32 + 2 * (16 * 16 * 9 + 32)
    assert matched["head_parameters"] == 64 * 4 + 4


def test_the_table_is_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(study_file(tmp_path)), "--layers"]) == 0
    shown = capsys.readouterr().out
    assert "crucial layers of student resnet8 (shortcut: B) and teacher resnet20 (shortcut: B):" in shown
    assert "layer3" in shown
    assert "(head)" in shown


def test_without_the_option_nothing_is_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(study_file(tmp_path)), "--json"]) == 0
    assert "layers" not in json.loads(capsys.readouterr().out)


def test_it_says_what_is_folded_and_what_is_averaged_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = study_file(tmp_path)
    teacher = "{'tests.transformers:ViT': {size: [8, 8], depth: 3, registers: 1}}"
    path.write_text(path.read_text().replace("model: resnet20", f"model: {teacher}"))
    assert run(["check", str(path), "--layers", "--allow-plugin", "tests"]) == 0
    shown = capsys.readouterr().out
    assert "layer1: teacher's tokens 2 + 2x2 folded to their grid, student's 8x8 averaged down to 2x2" in shown
    assert "layer3: teacher's tokens 2 + 2x2 folded to their grid\n" in shown
    assert run(["check", str(path), "--layers", "--json", "--allow-plugin", "tests"]) == 0
    (matched,) = json.loads(capsys.readouterr().out)["layers"]
    assert [layer["teacher"] for layer in matched["layers"]] == ["blocks.0", "blocks.1", "blocks.2"]
    assert [layer["compared"] for layer in matched["layers"]] == [[2, 2]] * 3
    assert {(layer["student_layout"], layer["teacher_layout"]) for layer in matched["layers"]} == {
        ("map", "tokens 2 + 2x2")
    }


def test_every_student_that_may_be_built_is_shown() -> None:
    choice = "{choice: [resnet8, vgg8, {mobilenetv2: {width: 0.25}}]}"
    study = parse_study(TEXT.format(student=choice, layers="auto"), "tiny.yaml")
    students = [matched.student for matched in matched_layers(study)]
    assert students == [{"resnet8": {"shortcut": "B"}}, "vgg8", {"mobilenetv2": {"width": 0.25}}]


def test_named_pairs_are_shown_as_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = study_file(tmp_path, layers="[[layer1.0.conv1, layer1.2], [layer2, layer3]]")
    assert run(["check", str(path), "--layers", "--json"]) == 0
    (matched,) = json.loads(capsys.readouterr().out)["layers"]
    pairs = [(layer["student"], layer["teacher"]) for layer in matched["layers"]]
    assert pairs == [("layer1.0.conv1", "layer1.2"), ("layer2", "layer3")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": f"'{__name__}:Flat'"}, "no output of the student has the height and width"),
        ({"layers": "[[layer1, layer7]]"}, "the teacher has no layer 'layer7'"),
    ],
)
def test_what_does_not_match_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], message: str
) -> None:
    assert run(["check", str(study_file(tmp_path, **changes)), "--layers"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert message in line
