"""How the driver's memory grows with the trials of a study: trials of no length on two slots.

    python -m benchmarks.memory [TRIALS]

Ray Tune, which forgets no trial, is begun anew every 500 trials; shown is the driver's resident memory after every
hundred, and the growth a trial from the end of the first such stretch to the end of the study.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.sleeping import run
from benchmarks.timing import table, where

FIRST = 500


def main(trials: int) -> None:
    """Run the study and print."""
    print(where(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), slots=2, trials=trials, seconds=0.0, sampler="random")
    print(table(["trials ended", "MB"], [[str(n), f"{size / 1e6:.0f}"] for n, size in found.memory.items()]))
    last = max(found.memory)
    slope = (found.memory[last] - found.memory[FIRST]) / (last - FIRST)
    print(f"{slope / 1000:.1f} kB a trial from {FIRST} on, {found.span / trials:.2f} s a trial")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
