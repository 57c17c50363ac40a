"""Data sets whose files lie in a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kdstudy.data import load_data
from kdstudy.storage import folder_at
from tests.data.layouts import make_folders
from tests.storage.conftest import bucket, s3_server

__all__ = ["bucket", "s3_server"]


def test_files_are_fetched_once_and_give_the_same_data(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDSTUDY_CACHE", str(tmp_path / "cache"))
    make_folders(tmp_path / "pictures")
    place = folder_at(bucket)
    for path in (tmp_path / "pictures").rglob("*"):
        if path.is_file():
            place.write(path.relative_to(tmp_path / "pictures").as_posix(), path.read_bytes())

    def load(root: str):
        return load_data("imagefolder", val_fraction=0.25, split_seed=0, root=root, options={"size": 16})

    here, there = load(str(tmp_path / "pictures")), load(bucket)
    assert there.fingerprint == here.fingerprint
    assert torch.equal(there.train.images, here.train.images)
    place.clear()
    load_data.__globals__["_load"].cache_clear()
    assert load(bucket).fingerprint == here.fingerprint, "from this machine's copy"
