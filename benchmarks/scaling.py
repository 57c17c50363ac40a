"""Trials an hour against processes: sleeping trials on 1 to 64 slots of one Ray instance, and trials that compute.

    python -m benchmarks.scaling sleep [SECONDS [SLOTS ...]]
    python -m benchmarks.scaling compute [ROUNDS]

Sleeping trials (`benchmarks/sleeping.py`, of SECONDS, 10 unless said otherwise) need no core, so that one machine can
play a cluster: its Ray is told that it has so many. Four trials a slot. Efficiency is the trials an hour over those of
slots that add nothing, slots / SECONDS. SLOTS are 1, 2, 8, 16, 32 and 64 unless named; each process takes some 0.3 GB.

Trials that compute need a core each: eight of them, each 20 epochs of a resnet8 on 640 images of 3 x 32 x 32 with one
thread, on one slot and on two, in turn for ROUNDS (2). Efficiency is over twice the trials an hour of one slot. Two
cores share caches and the way to memory, so `floor` is the same training without Ray, store and record, in two bare
processes at once against one.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.sleeping import ROOT, Run, environment, run
from benchmarks.timing import table, where
from kdstudy.models.resnet import resnet8

TRIALS_A_SLOT = 4
COMPUTING = {"trials": 8, "epochs": 20, "seconds": 0.0, "sampler": "random"}
IMAGES = {"student": "resnet8", "size": 32, "count": 800}
BARE_STEPS = 200


def _run(slots: int, **study: object) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), slots=slots, **study)


def sleep(seconds: float, counts: list[int]) -> None:
    """Run each and print."""
    print(table(["slots", "trials", "start-up, s", "first to last, s", "trials/h", "efficiency", "processes"], []))
    for slots in counts:
        found = _run(slots, trials=TRIALS_A_SLOT * slots, seconds=seconds, sampler="random")
        hourly = 3600 * found.trials / found.span
        print(
            f"| {slots} | {found.trials} | {found.startup:.0f} | {found.span:.0f} | {hourly:.0f} | "
            f"{hourly * seconds / 3600 / slots:.0%} | {found.processes} |",
            flush=True,
        )


def bare() -> None:
    """Train without anything around it, and print the seconds; the floor of two slots runs this twice at once."""
    network, images, labels = resnet8(num_classes=2, in_channels=3), torch.rand(32, 3, 32, 32), torch.arange(32) % 2
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for step in range(BARE_STEPS + 20):
        if step == 20:
            began = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    print(time.perf_counter() - began)


def _bare(count: int) -> float:
    """Return the mean seconds of so many bare processes at once."""
    command = [sys.executable, "-m", "benchmarks.scaling", "bare"]
    options = {"cwd": ROOT, "env": environment(count), "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **options) for _ in range(count)]  # type: ignore[call-overload]
    return statistics.mean(float(process.communicate()[0]) for process in started)


def compute(rounds: int) -> None:
    """Run each in turn and print."""
    print(table(["slots", "start-up, s", "first to last, s", "trials/h", "efficiency", "floor"], []))
    for _ in range(rounds):
        alone, floor = 0.0, _bare(1) / _bare(2)
        for slots in (1, 2):
            found = _run(slots, **COMPUTING, **IMAGES)
            hourly = 3600 * found.trials / found.span
            alone = alone or hourly
            print(
                f"| {slots} | {found.startup:.0f} | {found.span:.0f} | {hourly:.0f} | {hourly / alone / slots:.0%} | "
                f"{1 if slots == 1 else floor:.0%} |",
                flush=True,
            )


def main(what: str, *arguments: str) -> None:
    """Do what the command line says."""
    if what == "bare":
        torch.set_num_threads(1)
        bare()
        return
    print(where(), flush=True)
    if what == "sleep":
        sleep(
            float(arguments[0]) if arguments else 10.0, [int(each) for each in arguments[1:]] or [1, 2, 8, 16, 32, 64]
        )
    else:
        compute(int(arguments[0]) if arguments else 2)


if __name__ == "__main__":
    main(*sys.argv[1:])
