"""A store whose disk fills up, turns read-only and vanishes in the middle of a study."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import SMOKE
from tests.tools import need

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


class Disk:
    """A file system of 60 MB that can be filled, made read-only and taken away; it keeps what it holds."""

    def __init__(self, folder: Path) -> None:
        self._backing, self.mounted = folder / "backing", folder / "disk"
        for path in (self._backing, self.mounted):
            path.mkdir()
        mount("-t", "tmpfs", "-o", "size=60m", "tmpfs", self._backing)
        self.restore()

    def restore(self) -> None:
        mount("--bind", self._backing, self.mounted)

    def fill(self) -> None:
        with contextlib.suppress(OSError), (self.mounted / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

    def free(self) -> None:
        (self.mounted / "ballast").unlink()

    def forbid_writing(self) -> None:
        """Succeeds only in a moment in which no file is open for writing."""
        deadline = time.monotonic() + 60
        while True:
            try:
                mount("-o", "remount,bind,ro", self.mounted)
                return
            except subprocess.CalledProcessError:
                assert time.monotonic() < deadline
                time.sleep(0.01)

    def allow_writing(self) -> None:
        mount("-o", "remount,bind,rw", self.mounted)

    def vanish(self, path: Path | None = None) -> None:
        subprocess.run(["umount", "--lazy", str(path or self.mounted)], check=True)

    def close(self) -> None:
        for path in (self.mounted, self._backing):
            if os.path.ismount(path):
                self.vanish(path)


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    need("netns")  # root, who may mount
    found = Disk(tmp_path)
    yield found
    found.close()


def test_a_disk_that_does_not_work_halts_the_study_and_costs_nothing(disk: Disk, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "KDSTUDY_STORE": str(disk.mounted / "store"),
        "KDSTUDY_LEDGER": f"sqlite:///{tmp_path}/ledger.db",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }

    def halted(arguments: tuple[str, ...], mark: str, harm: Callable[[], None]) -> str:
        """Drive the study, harm the disk when a line begins with ``mark``; return the one line that it ends with."""
        with subprocess.Popen(
            [sys.executable, "-m", "kdstudy", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
        ) as process:
            assert process.stderr is not None
            next(line for line in process.stderr if line.startswith(mark))
            harm()
            rest = process.stderr.read()
            assert process.wait(60) == 1, rest
        assert "Traceback" not in rest
        (error,) = [line for line in rest.splitlines() if line.startswith("error:")]
        shown = kdstudy_json(environment, "show", "latest")
        assert shown["status"] == "interrupted"
        states = {trial["state"] for trial in shown["trials"]}
        assert states <= {"completed", "queued"}, "the disk is no trial's failure"
        return error

    error = halted(("run", str(SMOKE)), "[1/8]", disk.fill)
    assert "cannot be written (No space left on device)" in error
    disk.free()
    error = halted(("resume", "latest"), "[3/8]", disk.forbid_writing)
    assert "cannot be written (Read-only file system)" in error
    disk.allow_writing()
    error = halted(("resume", "latest"), "[5/8]", disk.vanish)
    assert "the store has gone; mount or restore it" in error or "check that the store is reachable and intact" in error
    left = {path.name for path in (disk.mounted / "store").glob("*")}
    assert not left & {"store-id", "studies", "teachers"}, "what is not mounted is not filled anew"
    refused = subprocess.run(
        [sys.executable, "-m", "kdstudy", "resume", "latest"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert refused.returncode == 1
    assert "is not the store that the study was begun with (store-id missing" in refused.stderr
    assert {path.name for path in (disk.mounted / "store").glob("*")} == left
    disk.restore()
    assert kdstudy_json(environment, "resume", "latest")["trials"]["completed"] == 8
    for trial in ("3", "5"):
        assert kdstudy_json(environment, "reproduce", "latest", "--trial", trial)["verdict"] == "identical"


def kdstudy_json(environment: dict[str, str], *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "kdstudy", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
