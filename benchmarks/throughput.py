"""What a trial costs from start to end, teacher run in every step and outputs kept, and how many an hour that makes.

A trial is what a worker runs: teacher opened, networks built, steps, scores of the validation split, a checkpoint after
every epoch, the student written at the end, kept files verified. It runs in this process with one thread, and what is
counted is CPU time: on a core of its own an hour holds 3600 / CPU seconds of them. What Ray, the driver and the record
add is not in it. Data is noise, the teacher untrained, the transfer soft targets. ``none`` is the same trial without a
teacher: no trial that reads can cost less. The modes run in turn, in reversed order every other round; medians are
taken.

Of N trials that share the teacher's outputs the first computes them: a trial costs (first + (N - 1) later) / N.

    python benchmarks/throughput.py STUDENT TEACHER [ROUNDS [EPOCHS [STEPS [NUMERICS]]]]
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import save_file
from timing import table, where
from trainers import network, noise

from kdstudy.plugins import allow_plugins
from kdstudy.study import TrialConfig, parse_study
from kdstudy.trial import open_teacher, prepare_teacher, run_trial

TRIALS = (12, 60)
STUDY = """
name: throughput
data: {{name: trainers:noisy, val_fraction: 0.1, options: {{images: {images}}}}}
teacher: {{model: {teacher}, path: {path}, allow_weak: true}}
student: {{model: {student}}}
train: {{epochs: {epochs}, batch_size: 64, base_lr: 0.05}}
arms: {{transfers: [{transfer}], policies: [constant]}}
search: {{trials_per_arm: 1}}
cache: {{mode: {mode}}}
numerics: {numerics}
"""
MODES = {"none": ("none", "off"), "off": ("kd", "off"), "schedule": ("kd", "schedule")}


def main(student: str, teacher: str, rounds: int, epochs: int, steps: int, numerics: str) -> None:
    """Run and print."""
    images = -(-steps * 64 * 10 // 9)  # a tenth of them is for validation
    print(where(), f"{rounds} rounds, trials of {epochs} epochs of {steps} steps, numerics {numerics}", flush=True)
    allow_plugins("trainers")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.safetensors"
        save_file(network(teacher, noise(2), classes=10).state_dict(), path)
        shape = {"student": student, "teacher": teacher, "path": path}
        shape |= {"epochs": epochs, "images": images, "numerics": numerics}
        configs = {
            name: parse_study(STUDY.format(**shape, transfer=transfer, mode=mode)).config(
                f"{transfer}/constant", {}, data_seed=1, init_seed=1
            )
            for name, (transfer, mode) in MODES.items()
        }
        seconds = measure(configs, Path(folder), rounds)
    for name, taken in seconds.items():
        print(name, ", ".join(f"{each:.2f}" for each in taken), "s CPU", flush=True)
    print(table(["trials", "off", "schedule", "gain", "at most"], list(rows(seconds))))


def measure(configs: dict[str, TrialConfig], folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each trial; ``first`` made the files; one before it, without a teacher, is left out."""
    teacher = folder / "teachers" / prepare_teacher(configs["off"], folder / "teachers").key
    trials = itertools.count()

    def run(name: str) -> float:
        began = time.process_time()
        run_trial(
            configs[name],
            lambda _record, _result: None,
            teacher=open_teacher(teacher),
            folder=folder / str(next(trials)),
            cache=folder / "cache" / "study",
        )
        return time.process_time() - began

    run("none")
    seconds: dict[str, list[float]] = {"first": [run("schedule")]} | {name: [] for name in configs}
    for number in range(rounds):
        for name in configs if number % 2 else reversed(configs):
            seconds[name].append(run(name))
    return seconds


def rows(seconds: dict[str, list[float]]) -> Iterator[list[str]]:
    """Yield trials an hour for each number of trials: of both modes, their ratio, and what it could be at most."""
    first, off, later, none = (statistics.median(seconds[name]) for name in ("first", "off", "schedule", "none"))
    for trials in TRIALS:
        kept = (first + (trials - 1) * later) / trials
        floor = (off + (trials - 1) * none) / trials
        yield [str(trials), f"{3600 / off:.0f}", f"{3600 / kept:.0f}", f"{off / kept:.2f}", f"{off / floor:.2f}"]


if __name__ == "__main__":
    numbers = [int(value) for value in sys.argv[3:6]]
    text = sys.argv[6] if len(sys.argv) > 6 else "{}"
    main(sys.argv[1], sys.argv[2], *(numbers + [2, 3, 40][len(numbers) :]), text)
