"""Trials an hour of a whole `kdstudy run`, with the teacher run in every step and with its outputs kept.

A search of one arm (soft targets) on noise, no confirmation; the two modes run in turn, teacher prepared beforehand.
Prints the wall time of the search as the study itself tells it, and trials an hour by it: unlike the other benchmarks,
this one needs a machine to itself.

    PYTHONPATH=benchmarks python benchmarks/throughput.py STUDENT TEACHER [TRIALS [EPOCHS [IMAGES]]]
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from timing import table, where

STUDY = """
name: throughput
data: {{name: trainers:noisy, val_fraction: 0.1, options: {{images: {images}}}}}
teacher: {{model: {teacher}, epochs: 1, allow_weak: true}}
student: {{model: {student}}}
train: {{epochs: {epochs}, batch_size: 64, base_lr: {{log: [0.01, 0.1]}}}}
arms: {{transfers: [{{kd: {{weight: {{log: [0.1, 1]}}}}}}], policies: [constant]}}
search: {{sampler: random, trials_per_arm: {trials}}}
confirm: {{seeds: 0}}
cache: {{mode: {mode}}}
"""


def main(student: str, teacher: str, trials: int, epochs: int, images: int) -> None:
    """Run both modes and print."""
    print(where(), f"{trials} trials of {epochs} epochs on {images} images", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        study = {"student": student, "teacher": teacher, "epochs": epochs, "images": images}
        run(STUDY.format(**study, trials=1, mode="off"), Path(folder))  # prepares the teacher
        for mode in ("off", "schedule"):
            wall = run(STUDY.format(**study, trials=trials, mode=mode), Path(folder))
            rows.append([f"{student} <- {teacher}", mode, f"{wall:.0f}", f"{3600 * trials / wall:.0f}"])
            print(rows[-1], flush=True)
    print(table(["student <- teacher", "mode", "search, s wall", "trials an hour"], rows))


def run(text: str, folder: Path) -> float:
    """Run a study; return the wall time of its search."""
    (folder / "study.yaml").write_text(text)
    command = [sys.executable, "-m", "kdstudy", "run"]
    done = subprocess.run(
        [*command, str(folder / "study.yaml"), "--store", str(folder / "store"), "--allow-plugin", "trainers"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    search = re.search(r"search ((?:\d+:)*\d+)", done.stderr[done.stderr.index("set-up ") :])
    assert search is not None
    seconds = 0
    for part in search[1].split(":"):
        seconds = 60 * seconds + int(part)
    return float(seconds)


if __name__ == "__main__":
    numbers = [int(value) for value in sys.argv[3:]]
    main(sys.argv[1], sys.argv[2], *(numbers + [12, 2, 640][len(numbers) :]))
