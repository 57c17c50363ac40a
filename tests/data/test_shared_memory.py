"""What the decoding processes hand over, where shared memory is small."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from kdstudy.data import shared_memory
from kdstudy.data import stored as stored_module
from kdstudy.data.files import ImageFiles
from kdstudy.data.shared_memory import shortage, workers_that_fit
from kdstudy.errors import DataError
from tests.data.layouts import make_folders
from tests.tools import need

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def images(tmp_path: Path) -> ImageFiles:
    make_folders(tmp_path, train=8, test=1)
    paths = tuple(map(str, sorted((tmp_path / "train").rglob("*.png"))))
    return ImageFiles(paths, 64, "crop", 0, workers=1)


def leave_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _path: Usage(free, 0, free))


@pytest.mark.parametrize(
    ("free", "wanted", "fitting"),
    [(700, 2, 2), (699, 2, 1), (400, 2, 1), (399, 2, 0), (0, 2, 0), (10**9, 2, 2), (0, 0, 0), (1000, 3, 3)],
)
def test_each_process_needs_room_for_three_batches_and_one_is_in_use(
    free: int, wanted: int, fitting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_free(monkeypatch, free)
    assert workers_that_fit(wanted, 100) == fitting
    assert (shortage(wanted, 100) is None) == (fitting == wanted)


def test_without_such_a_file_system_nothing_is_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shared_memory, "SHARED", tmp_path / "none")
    assert workers_that_fit(4, 10**12) == 4
    assert shortage(4, 10**12) is None


def test_batches_that_do_not_fit_are_decoded_here_and_it_is_said_once(
    images: ImageFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    leave_free(monkeypatch, 123_456)
    stored_module._warn.cache_clear()
    chunks = list(torch.arange(24).split(12))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert torch.equal(torch.cat(list(images.stream(chunks, "cpu"))), images.decoded())
    (line,) = [record.getMessage() for record in caplog.records]
    assert "has 0 MB free, too little for batches of 0.1 MB; images are decoded without processes" in line


def test_a_loader_that_gives_nothing_is_an_error(images: ImageFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(stored_module._Chunks):
        def __getitem__(self, indices: object) -> torch.Tensor:
            time.sleep(60)
            raise AssertionError

    monkeypatch.setattr(stored_module, "_Chunks", Stuck)
    monkeypatch.setattr(stored_module, "LOADER_SECONDS", 0.2)
    monkeypatch.setattr(stored_module, "_fork_server", lambda **_: None)  # the class is its own: by fork
    with pytest.raises(DataError, match=r"gave none \(DataLoader timed out after 0.2 seconds") as caught:
        list(images.stream([torch.arange(4)], "cpu"))
    assert "\n" not in str(caught.value)


def test_a_decoding_process_that_dies_is_an_error(images: ImageFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying(stored_module._Chunks):
        def __getitem__(self, indices: object) -> torch.Tensor:
            os._exit(1)

    monkeypatch.setattr(stored_module, "_Chunks", Dying)
    monkeypatch.setattr(stored_module, "_fork_server", lambda **_: None)
    with pytest.raises(DataError, match=r"gave none \(DataLoader worker .*exited unexpectedly") as caught:
        list(images.stream([torch.arange(4)], "cpu"))
    assert "\n" not in str(caught.value)


SCRIPT = """
import logging, sys, torch
from pathlib import Path
from kdstudy.data.files import ImageFiles
logging.basicConfig()
paths = tuple(map(str, sorted(Path(sys.argv[1]).rglob("*.png"))))
images = ImageFiles(paths, 224, "crop", 0, workers=2)
found = list(images.stream(list(torch.arange(24).split(4)), "cpu"))
print(len(found), torch.equal(torch.cat(found), images.decoded()))
"""


@pytest.mark.slow  # twice torch and the processes that decode: 10 s
@pytest.mark.parametrize("size", ["1m", "64m"])
def test_a_small_shared_memory_of_a_container_is_no_hang(size: str, images: ImageFiles, tmp_path: Path) -> None:
    inside = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$0" "$@"'
    done = subprocess.run(
        [need("unshare"), "-m", "bash", "-c", inside, sys.executable, "-c", SCRIPT, str(tmp_path / "train")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout == "6 True\n", done.stderr
    assert ("/dev/shm has 1 MB free, too little" in done.stderr) == (size == "1m")
    assert "Traceback" not in done.stderr
