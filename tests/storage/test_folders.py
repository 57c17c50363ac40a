"""What every folder promises, on a disk and in a bucket."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdstudy.errors import StoreError
from kdstudy.storage import BucketFolder, DiskFolder, Folder, folder_at, locked, node_folder
from kdstudy.storage import bucket as bucket_module
from kdstudy.storage.store import Store


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return folder_at(tmp_path / "folder" if request.param == "disk" else request.getfixturevalue("bucket"))


def test_what_is_written_is_read(folder: Folder) -> None:
    content = bytes(range(256)) * 50_000  # 12.8 MB: more than one part of a multipart upload
    folder.write("large", content)
    folder.write("empty", b"")
    assert folder.read("large") == content
    assert folder.read("empty") == b""
    folder.write("large", b"replaced")
    assert folder.read("large") == b"replaced"


def test_what_is_not_there_reads_as_nothing(folder: Folder) -> None:
    assert folder.read("nothing") is None
    assert (folder / "no" / "such").read("file") is None
    assert folder.files() == []
    folder.remove("nothing")
    folder.clear()


def test_folders_nest_and_are_cleared_whole(folder: Folder) -> None:
    inner = folder / "a" / "b"
    inner.write("two", b"2")
    inner.write("one", b"1")
    (folder / "a").write("three", b"3")
    (folder / "ab").write("other", b"4")
    assert inner.files() == ["one", "two"]
    assert (folder / "a").files() == ["b/one", "b/two", "three"]
    inner.remove("one")
    assert inner.files() == ["two"]
    (folder / "a").clear()
    assert folder.files() == ["ab/other"], "a prefix is not a folder"


def test_a_folder_travels_to_other_processes(folder: Folder) -> None:
    (folder / "a").write("b", b"c")
    assert pickle.loads(pickle.dumps(folder / "a")).read("b") == b"c"
    assert folder_at(str(folder)) == folder


def test_its_files_can_be_had_as_a_path(folder: Folder, tmp_path: Path) -> None:
    (folder / "student").write("weights", b"w")
    (folder / "student").write("deep/config", b"c")
    for _ in range(2):
        path = (folder / "student").on_disk(tmp_path / "cache")
        assert (path / "weights").read_bytes() == b"w"
        assert (path / "deep" / "config").read_bytes() == b"c"
    if isinstance(folder, BucketFolder):
        (folder / "student").write("weights", b"later")
        assert (path / "weights").read_bytes() == b"w", "fetched once"


def test_a_server_that_comes_back_is_waited_for_and_one_that_does_not_is_one_line(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "RETRY_SECONDS", 1.0)
    away = folder_at("s3://bucket/x?endpoint_override=http://127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(StoreError, match="cannot be written") as error:
        away.write("name", b"")
    assert time.monotonic() - began < 10
    assert "\n" not in str(error.value)


def test_a_bucket_that_is_not_there_is_said_at_once(s3_server: str, bucket: str) -> None:
    wrong = folder_at(f"s3://nowhere/x?endpoint_override={s3_server}")
    began = time.monotonic()
    for attempt in (lambda: wrong.write("name", b""), lambda: wrong.read("name"), wrong.files):
        with pytest.raises(StoreError, match="NoSuchBucket"):
            attempt()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("s3://key:secret@bucket/x", "credentials do not belong"),
        ("s3://bucket/x?access_key=a&secret_key=b", "credentials do not belong"),
        ("s3://bucket/x?regoin=y", "cannot be read as a location"),
        ("s3:///x", "cannot be read as a location"),
        ("gs://bucket/x", "cannot be read as a location"),
    ],
)
def test_a_location_that_cannot_be_read_is_one_line(location: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as error:
        folder_at(location)
    assert "secret@" not in str(error.value)


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path) -> None:
    folder = DiskFolder(tmp_path)
    folder.write("file", b"old")
    code = (
        "import resource, sys; from pathlib import Path; from kdstudy.storage import DiskFolder\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "DiskFolder(Path(sys.argv[1])).write('file', b'new' * 1000)"
    )
    # Not measured by `make coverage`, whose own file would not fit on that disk either.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "StoreError" in done.stderr.splitlines()[-1]
    assert folder.read("file") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_store_that_is_gone_is_not_filled_again(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path / "store"))
    store.create()
    trial = store.trial("study", 0)
    trial.write("checkpoints/epoch", b"1")
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(StoreError, match="the store has gone"):
        trial.write("checkpoints/epoch", b"2")
    assert not (tmp_path / "store").exists()
    (tmp_path / "store" / "ray").mkdir(parents=True)  # Ray makes its folder anew
    with pytest.raises(StoreError, match="the store has gone"):
        trial.write("checkpoints/epoch", b"2")


def test_a_store_in_a_bucket_asks_for_its_databases(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="--ledger"):
        Store.at(bucket)
    with pytest.raises(StoreError, match="--tracking-uri"):
        Store.at(bucket, f"sqlite:///{tmp_path}/ledger.db")
    store = Store.at(bucket, f"sqlite:///{tmp_path}/ledger.db", "http://127.0.0.1:5000")
    identity = store.create()
    assert store.create() == identity
    assert Store.at(bucket, "sqlite:///x", "http://y").create() == identity
    assert store.folder.files() == ["store-id"]
    assert store.local.is_dir()


def test_one_process_at_a_time_works_on_a_locked_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDSTUDY_CACHE", str(tmp_path / "cache"))
    target = node_folder() / "thing"
    code = (
        "import sys, time; from pathlib import Path; from kdstudy.storage import locked\n"
        "with locked(Path(sys.argv[1])): print('in', flush=True); time.sleep(0.5); Path(sys.argv[1]).write_text('x')"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with locked(target):
            assert target.read_text() == "x"
    assert target.parent.stat().st_mode & 0o077 == 0, "for this user alone"
