"""(a) The tests that need a GPU, where pytest and hypothesis are installed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu.job import Job, SkipPartError

ROOT = Path(__file__).parents[2]


def run(job: Job) -> None:
    """Run them."""
    missing = [name for name in ("pytest", "hypothesis") if importlib.util.find_spec(name) is None]
    if missing:
        raise SkipPartError(f"not installed: {', '.join(missing)}")
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.cuda" in path.read_text()]

    def tests() -> dict[str, Any]:
        # Of pyproject.toml only what old or missing plug-ins of pytest understand.
        plain = ("-o", "addopts=--import-mode=importlib", "-o", "filterwarnings=", "-p", "no:cacheprovider")
        command = (sys.executable, "-m", "pytest", "-q", "-m", "cuda", *plain, *files)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=job.seconds, check=False)
        counts = {name: int(count) for count, name in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
        failed = re.findall(r"^(?:FAILED|ERROR) (.*)$", done.stdout, flags=re.MULTILINE)
        return {"passed": 0, "failed": 0, "skipped": 0, **counts, "which failed": "; ".join(failed)[:1000]}

    job.measure("tests marked cuda", tests)
