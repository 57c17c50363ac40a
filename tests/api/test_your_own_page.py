"""The page on a user's own images, network and checkpoint is true: its files make a study that runs here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import kdstudy
from kdstudy.data import load_data
from tests.command_line import kdstudy as kdstudy_says
from tests.runner.in_process import InProcess

PAGE = Path(__file__).parents[2] / "docs" / "your-own.md"


def write_files(folder: Path) -> set[str]:
    """Write the blocks of the page to the files that their first lines name; return the names."""
    files: dict[str, str] = {}
    for language, first, block in re.findall(
        r"^```(\w+)\n# (.*?)\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE
    ):
        assert language in {"python", "yaml"}
        files[first] = files.get(first, "") + block
    for name, text in files.items():
        (folder / name).write_text(text)
    return set(files)


@pytest.mark.slow  # a network is trained, a study run and a trial of it repeated
def test_the_files_of_the_page_are_a_study_that_is_checked_run_and_reproduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert write_files(tmp_path) == {"mine.py", "train.py", "study.yaml", "save.py", "saved.yaml", "part of a study"}
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "train.py"], check=True, timeout=100)
    monkeypatch.setenv("PYTHONPATH", str(PAGE.parents[1]))
    checked = kdstudy_says(tmp_path / "store", "check", "study.yaml", "--layers", "--allow-plugin", "mine")
    assert "across 80, down 80" in checked
    assert "removed the prefix 'module.'" in checked
    assert all(layer in checked for layer in ("stem", "body"))
    kdstudy.allow_plugins("mine.py")
    study = kdstudy.run("study.yaml", store="store", cluster=InProcess())
    assert study.status == "finished"
    assert [trial.state for trial in study.trials] == ["completed"] * 4
    assert study.take_home.reproduce().verdict == "identical"


@pytest.mark.slow  # a study is run
def test_its_data_set_of_hugging_face_is_a_study_of_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    subprocess.run([sys.executable, "save.py"], check=True, timeout=100)
    monkeypatch.setenv("PYTHONPATH", str(PAGE.parents[1]))
    checked = kdstudy_says(tmp_path / "store", "check", "saved.yaml", "--corners")
    assert "images of 3 x 16 x 16: 120 to train, 40 to validate, 60 to test" in checked
    assert "across 80, down 80" in checked
    kdstudy.allow_plugins("mine.py")
    images = [
        load_data(name, root=root, options=options, val_fraction=0.25, split_seed=0, with_test=True)
        for name, root, options in (("mine:bars", None, {}), ("huggingface", "saved-bars", {"size": 16}))
    ]
    assert torch.equal(images[0].test.images, images[1].test.images), "other images than those of the page"
    study = kdstudy.run("saved.yaml", store="store", cluster=InProcess())
    assert study.status == "finished"
    assert study.trials[0].reproduce().verdict == "identical"
