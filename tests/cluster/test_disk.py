"""A store whose disk fills up in the middle of a study."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools import need

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SMOKE = Path(__file__).parents[2] / "studies" / "smoke.yaml"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 60 MB."""
    need("netns")  # root, who may mount
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_halts_the_study_and_costs_nothing(disk: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "KDSTUDY_STORE": str(disk / "store"),
        "KDSTUDY_LEDGER": f"sqlite:///{tmp_path}/ledger.db",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    command = [sys.executable, "-m", "kdstudy", "run", str(SMOKE), "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("[1/8]"))
        ballast = disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        rest = process.stderr.read()
        assert process.wait(60) == 1, rest
    (error,) = [line for line in rest.splitlines() if line.startswith("error:")]
    assert "cannot be written (No space left on device)" in error
    assert "Traceback" not in rest
    shown = json.loads(
        subprocess.run(
            [sys.executable, "-m", "kdstudy", "show", "--json"],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        ).stdout
    )
    assert shown["status"] == "interrupted"
    assert {trial["state"] for trial in shown["trials"]} <= {"completed", "queued"}, "the disk is no trial's failure"
    ballast.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "kdstudy", "resume", "latest", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trials"]["completed"] == 8
