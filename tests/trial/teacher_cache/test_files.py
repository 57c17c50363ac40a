"""A file is made once among processes, whole or not at all, verified, and cleared away only when nobody reads it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from kdstudy.trial.teacher_cache.files import TensorFileCache

ROOM = 10**6

MAKER = """
import sys, time
from pathlib import Path
import torch
from kdstudy.trial.teacher_cache.files import TensorFileCache

folder, pause = Path(sys.argv[1]), float(sys.argv[2])

def make(name):
    with (folder / "made").open("a") as file:
        file.write(name + "\\n")
    time.sleep(pause)
    return {"x": torch.full((3,), float(name))}

shelf = TensorFileCache(folder, "key", 10**6)
names = [f"{k:05d}" for k in range(1, 7)]
for at, name in enumerate(names):
    assert shelf.get(name, make, ahead=names[at + 1:])["x"].tolist() == [float(name)] * 3
"""


def start(folder: Path, pause: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", MAKER, str(folder), str(pause)], cwd=Path(__file__).parents[3])


def made(value: float = 1.0, size: int = 3) -> dict[str, torch.Tensor]:
    return {"x": torch.full((size,), value)}


def test_processes_share_the_work_and_make_each_file_once(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    (tmp_path / "study").mkdir()
    workers = [start(folder, 0.2) for _ in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    lines = (tmp_path / "study" / "made").read_text().split()
    assert sorted(lines) == [f"{k:05d}" for k in range(1, 7)]


def test_a_process_that_dies_leaves_neither_a_lock_nor_half_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    (tmp_path / "study").mkdir()
    worker = start(folder, 600)
    log = tmp_path / "study" / "made"
    deadline = time.monotonic() + 120
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert not list(folder.glob("*/*.safetensors"))
    found = TensorFileCache(folder, "key", ROOM).get("00001", lambda _: made(7.0))
    assert found["x"].tolist() == [7.0] * 3


def test_an_altered_or_shortened_file_is_made_again(tmp_path: Path) -> None:
    shelf, calls = TensorFileCache(tmp_path / "study", "key", ROOM), []

    def make(name: str) -> dict[str, torch.Tensor]:
        calls.append(name)
        return made(float(len(calls)), size=100)

    shelf.get("1", make)
    (path,) = shelf.folder.glob("*.safetensors")
    content = path.read_bytes()
    for damaged in (content[:-4] + b"\0\0\0\0", content[:50], b""):
        path.unlink()  # a new file, as a copy gone wrong would be: what is mapped already keeps its old bytes
        path.write_bytes(damaged)
        before = len(calls)
        assert shelf.get("1", make)["x"].tolist() == [before + 1.0] * 100
        assert len(calls) == before + 1


def test_the_longest_unread_shelves_make_room_and_those_in_use_do_not(tmp_path: Path) -> None:
    other = tmp_path / "z" / "mine"
    other.mkdir(parents=True)
    (other / "weights.safetensors").write_bytes(b"0" * 5000)
    os.utime(other, (0, 0))
    old, older, used = (TensorFileCache(tmp_path / study, "key", 2000) for study in ("a", "b", "c"))
    for age, shelf in ((1000, old), (2000, older), (0, used)):
        shelf.get("1", lambda _: made(size=100))
        os.utime(shelf.folder, (time.time() - age,) * 2)
    new = TensorFileCache(tmp_path / "d", "key", 2000)
    new.get("1", lambda _: made(size=100))
    kept = {shelf for shelf in (old, older, used, new) if list(shelf.folder.glob("*.safetensors"))}
    assert kept == {old, used, new}, "three of about 500 bytes fit beside one more"
    assert (other / "weights.safetensors").exists(), "not ours: neither counted nor touched"
    os.utime(old.folder)
    value = TensorFileCache(tmp_path / "e", "key", 2000).get("1", lambda _: made(5.0, size=400))
    assert value["x"].tolist() == [5.0] * 400, "no room: used all the same, not kept"
    assert not list((tmp_path / "e").glob("*/*.safetensors"))
    assert list(old.folder.glob("*.safetensors"))


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    shelf = TensorFileCache(blocked / "study", "key", ROOM)
    assert shelf.get("1", lambda _: made(2.0))["x"].tolist() == [2.0] * 3
    assert shelf.note("n", lambda: 5) == 5
