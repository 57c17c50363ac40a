"""Ratios of alternated runs: what every benchmark here measures with.

Contenders run in turn in one process with one thread, in reversed order every other round; what is counted is the
process's CPU time, which busy neighbours hardly change. A ratio is the median over rounds of the paired ratios to the
first contender, with the quartiles beside it. Differences below a tenth are not to be believed.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads

import numpy as np
import torch

from kdstudy.results import markdown_table

torch.set_num_threads(1)


def alternate(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each contender in each round, after one round that is not counted."""
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name in names if number % 2 else reversed(names):
            began = time.process_time()
            contenders[name]()
            took = time.process_time() - began
            if number:
                seconds[name].append(took)
    return seconds


def ratio(seconds: Mapping[str, list[float]], name: str, base: str) -> str:
    """Return ``median [quartiles]`` of the paired ratios."""
    low, middle, high = np.quantile(np.array(seconds[name]) / np.array(seconds[base]), [0.25, 0.5, 0.75])
    digits = 3 if middle < 0.1 else 2
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def where() -> str:
    """Return one line: commit, processor, torch."""
    here = Path(__file__).parent
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    )
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(": ")[2] for line in info.splitlines() if line.startswith("model name")]
    cpu = models[0] if models else platform.machine()
    return (
        f"commit {commit.stdout.strip()}, {cpu}, one thread, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}"
    )


table = markdown_table
