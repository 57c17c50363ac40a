"""The command line as a user calls it, on the smallest whole study, and the processes that it starts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

SMOKE = Path(__file__).parents[1] / "studies" / "smoke.yaml"


def kdstudy(store: Path, *arguments: str) -> str:
    """Run a command that must succeed, and return its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "kdstudy", *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "KDSTUDY_STORE": str(store)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(process: subprocess.Popen[str], mark: str) -> str:
    """Read what a process says on stderr until a line begins with ``mark``, and return it."""
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if line.startswith(mark):
            return "".join(lines)
    raise AssertionError("".join(lines))


def trial_processes(driver: int) -> list[int]:
    """The processes of a local Ray that train: descendants of the driver."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
            names[int(folder.name)] = (folder / "cmdline").read_text()
    found = []
    for pid, name in names.items():
        above = pid
        while above in parents and above != driver:
            above = parents[above]
        if above == driver and name.startswith("ray::") and ".train" in name:
            found.append(pid)
    return found
