"""While trials make files of the teacher's outputs, the driver says how many there are, and is silent otherwise."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from kdstudy.runner.cache_progress import Building
from kdstudy.trial.teacher_cache.files import TensorFileCache


def made(_name: str) -> dict[str, torch.Tensor]:
    return {"x": torch.zeros(3)}


def wait_for(capsys: pytest.CaptureFixture[str], words: str) -> str:
    """What has been said up to a line with ``words``."""
    said, deadline = "", time.monotonic() + 60
    while words not in said and time.monotonic() < deadline:
        said += capsys.readouterr().err
        time.sleep(0.01)
    assert words in said
    return said


def test_files_are_counted_as_they_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study"
    first, second = TensorFileCache(study, "a", 10**6), TensorFileCache(study, "b", 10**6)
    first.get("00001", made)  # before this driver: not news
    with Building(study, 4, seconds=0.02):
        time.sleep(0.2)
        assert capsys.readouterr().err == ""
        first.get("00002", made)
        said = wait_for(capsys, "cache: 2 of up to 4 files")
        second.get("00001", made)
        said += wait_for(capsys, "cache: 3 of up to 8 files")
        time.sleep(0.2)
    said += capsys.readouterr().err
    lines = said.splitlines()
    assert lines[-1] == "cache: 3 of up to 8 files of the teacher's outputs are there"
    assert len(lines) == len(set(lines)), "said once"


def test_a_study_that_keeps_nothing_hears_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Building(tmp_path / "none", 0, seconds=0.01):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""
