"""Trials an hour against processes: sleeping trials on 1 to 64 slots of one Ray instance.

    python -m benchmarks.scaling [SECONDS [SLOTS ...]]

Sleeping trials (`benchmarks/sleeping.py`, of SECONDS, 10 unless said otherwise) need no core, so that one machine can
play a cluster: its Ray is told that it has so many. Four trials a slot. Efficiency is the trials an hour over those of
slots that add nothing, slots / SECONDS. SLOTS are 1, 2, 8, 16, 32 and 64 unless named; each process takes some 0.3 GB.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.sleeping import run
from benchmarks.timing import table, where

TRIALS_A_SLOT = 4


def main(seconds: float, counts: list[int]) -> None:
    """Run each and print."""
    print(where(), flush=True)
    print(table(["slots", "trials", "start-up, s", "first to last, s", "trials/h", "efficiency", "processes"], []))
    for slots in counts:
        with tempfile.TemporaryDirectory() as folder:
            found = run(Path(folder), slots=slots, trials=TRIALS_A_SLOT * slots, seconds=seconds, sampler="random")
        hourly = 3600 * found.trials / found.span
        print(
            f"| {slots} | {found.trials} | {found.startup:.0f} | {found.span:.0f} | {hourly:.0f} | "
            f"{hourly * seconds / 3600 / slots:.0%} | {found.processes} |",
            flush=True,
        )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(float(arguments[0]) if arguments else 10.0, [int(each) for each in arguments[1:]] or [1, 2, 8, 16, 32, 64])
