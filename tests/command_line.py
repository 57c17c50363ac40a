"""The command line as a user calls it, on the smallest whole study."""

from __future__ import annotations

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
