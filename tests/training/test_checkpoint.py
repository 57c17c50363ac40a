"""Checkpoints survive damage and never run code."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from kdstudy.errors import StoreError
from kdstudy.training.checkpoint import CheckpointFolder, weights_sha256


def test_newest_of_two_generations_is_loaded(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "c")
    assert folder.load() is None
    for epoch in (1, 2, 3):
        folder.save(epoch, {"x": torch.full((2,), float(epoch)), "history": [{"epoch": epoch, "val": None}]})
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["epoch-00002.pt", "epoch-00003.pt"]
    loaded = folder.load()
    assert loaded is not None
    assert loaded[0] == 3
    assert torch.equal(loaded[1]["x"], torch.full((2,), 3.0))
    assert loaded[1]["history"] == [{"epoch": 3, "val": None}]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_file_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, {"x": torch.ones(3)})
    folder.save(2, {"x": torch.zeros(3)})
    newest = tmp_path / "epoch-00002.pt"
    content = bytearray(newest.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[len(content) // 2] ^= 1
    else:
        content = bytearray()
    newest.write_bytes(bytes(content))
    loaded = folder.load()
    assert loaded is not None
    assert loaded[0] == 1


def test_a_pickle_from_a_stranger_does_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    payload = pickle.dumps(Bomb(), protocol=2)
    (tmp_path / "epoch-00001.pt").write_bytes(hashlib.sha256(payload).digest() + payload)
    assert CheckpointFolder(tmp_path).load() is None
    assert not (tmp_path / "ran").exists()


def test_writing_where_it_is_impossible_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written") as error:
        CheckpointFolder(tmp_path / "file").save(1, {})
    assert "\n" not in str(error.value)


def test_weights_hash_sees_names_shapes_and_every_bit() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    before = weights_sha256(layer)
    assert weights_sha256(layer) == before
    with torch.no_grad():
        layer.weight[0, 0] = torch.nextafter(layer.weight[0, 0], torch.tensor(9.0))
    assert weights_sha256(layer) != before
    assert weights_sha256(nn.Sequential(layer)) != weights_sha256(layer)
