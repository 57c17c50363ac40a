"""What ``check`` says of a user's own images, in text and in JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kdstudy.cli import run
from tests.command_line import SMOKE
from tests.data.layouts import make_folders


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of three folders, beside which and in which other things lie."""
    make_folders(tmp_path / "pictures", train=10, test=2)
    train, test = tmp_path / "pictures" / "train", tmp_path / "pictures" / "test"
    for number in range(25):
        (train / "ant" / f"{number:02}.txt").write_text("no image")
    (train / ".cache").mkdir()
    shutil.copy(train / "ant" / "000.png", test / "ant" / "again.png")
    line = f"data: {{name: imagefolder, root: {tmp_path}/pictures, val_fraction: 0.2, options: {{size: 16}}}}"
    text = SMOKE.read_text().splitlines()
    (tmp_path / "study.yaml").write_text("\n".join(line if old.startswith("data:") else old for old in text))
    return tmp_path / "study.yaml"


def test_check_tells_classes_what_was_left_out_and_what_is_in_two_splits(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", str(study)]) == 0
    told = capsys.readouterr().out
    assert "data: 3 classes (training and validation images): ant 10, bee 10, cat 10\n" in told
    assert (
        f"data: left out of {study.parent}/pictures/train: no image by name: 25 (ant/00.txt, ant/01.txt, ant/02.txt, "
        "...); hidden: 1 (.cache/)\n"
    ) in told
    assert "warning: data: 1 of 7 test images are training or validation images as well" in told
    assert run(["check", str(study), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    data = document["data"]
    assert data["classes"] == [{"name": name, "train": 8, "val": 2} for name in ("ant", "bee", "cat")]
    assert [(each["reason"], each["count"], len(each["files"])) for each in data["left_out"]] == [
        ("no image by name", 25, 20),
        ("hidden", 1, 1),
    ]
    assert (data["train"], data["val"], data["test"], data["image_shape"]) == (24, 6, 7, [3, 16, 16])
    assert any(line.startswith("data: 1 of 7 test images") for line in document["warnings"])


def test_check_decodes_every_image_on_demand(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train/ant/001.png", "test/bee/000.png"):
        (study.parent / "pictures" / name).write_bytes(b"")
    assert run(["check", str(study)]) == 0
    capsys.readouterr()
    assert run(["check", str(study), "--images"]) == 1
    captured = capsys.readouterr()
    assert "001.png cannot be read (it is empty)" in captured.err
    assert captured.out == ""
