"""While trials make files of the teacher's outputs, the driver says how many there are, and is silent otherwise."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from kdstudy.runner.cache_progress import CacheProgress
from kdstudy.trial.teacher_cache.files import TensorFileCache


def made(_name: str) -> dict[str, torch.Tensor]:
    return {"x": torch.zeros(3)}


@pytest.fixture(autouse=True)
def shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "kdstudy")


def wait_for(caplog: pytest.LogCaptureFixture, words: str) -> None:
    """Return once a line with ``words`` has been logged."""
    deadline = time.monotonic() + 60
    while words not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    assert words in caplog.text


def test_files_are_counted_as_they_come(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = tmp_path / "study"
    first, second = TensorFileCache(study, "a", 10**6), TensorFileCache(study, "b", 10**6)
    first.get("00001", made)  # before this driver: not news
    with CacheProgress(study, 4, seconds=0.02):
        time.sleep(0.2)
        assert caplog.messages == []
        first.get("00002", made)
        wait_for(caplog, "cache: 2 of up to 4 files")
        second.get("00001", made)
        wait_for(caplog, "cache: 3 of up to 8 files")
        time.sleep(0.2)
    lines = caplog.messages
    assert lines[-1] == "cache: 3 of up to 8 files of teacher outputs written"
    assert len(lines) == len(set(lines)), "said once"


def test_a_study_that_keeps_nothing_hears_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with CacheProgress(tmp_path / "none", 0, seconds=0.01):
        time.sleep(0.1)
    assert caplog.messages == []
