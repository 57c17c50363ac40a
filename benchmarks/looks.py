"""Make kdstudy/analysis/looks.json: the chance, without a difference, of a small p at any of several looks.

    python benchmarks/looks.py [PATHS]

Standard normal d_r, PATHS (50 million) paths of 20 searches from one fixed seed. After each search from the third on,
the path's t statistic falls into one of the classes between the critical values of LEVELS; the smallest class over the
looks first..last is that of the smallest p. The chance of a p at most LEVELS[i] at any of them is the share of paths
whose smallest class is at most i. Standard error of a chance g: sqrt(g (1 - g) / PATHS), 0.00003 at 0.05. Two minutes
on one core; the same digits on every run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from scipy import stats

from kdstudy.analysis.looks import FIRST_LOOK, LAST_LOOK

SEED = 20_260_801
CHUNK = 100_000
LEVELS = (3e-5, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95, 1.0)
LOOKS = range(FIRST_LOOK, LAST_LOOK + 1)
TARGET = Path(__file__).parents[1] / "kdstudy" / "analysis" / "looks.json"


def t_statistics(paths: np.ndarray) -> dict[int, np.ndarray]:
    """The t statistic of each path after each look's searches."""
    sums, squares = np.cumsum(paths, axis=1), np.cumsum(paths**2, axis=1)
    found = {}
    for n in LOOKS:
        total = sums[:, n - 1]
        found[n] = total / np.sqrt(n * (squares[:, n - 1] - total**2 / n) / (n - 1))
    return found


def classes(t: np.ndarray, n: int, *, two_sided: bool) -> np.ndarray:
    """The index of the first level that the p value of each t does not exceed."""
    tails = np.array(LEVELS[:-1]) / (2 if two_sided else 1)
    critical = stats.t.isf(tails, n - 1)  # falls
    size = np.abs(t) if two_sided else t
    return (len(critical) - np.searchsorted(critical[::-1], size, side="right")).astype(np.int8)


def main(paths: int) -> None:
    rng = np.random.default_rng(SEED)
    counts = {
        sides: {(a, b): np.zeros(len(LEVELS), np.int64) for a in LOOKS for b in LOOKS if a < b}
        for sides in ("two_sided", "one_sided")
    }
    for _ in range(paths // CHUNK):
        t = t_statistics(rng.standard_normal((CHUNK, LAST_LOOK)))
        for sides, table in counts.items():
            reached = {n: classes(t[n], n, two_sided=sides == "two_sided") for n in LOOKS}
            for first in LOOKS:
                smallest = reached[first]
                for last in range(first + 1, LAST_LOOK + 1):
                    smallest = np.minimum(smallest, reached[last])
                    table[first, last] += np.bincount(smallest, minlength=len(LEVELS))
    write(paths // CHUNK * CHUNK, counts)


def write(paths: int, counts: dict[str, dict[tuple[int, int], np.ndarray]]) -> None:
    """One row a line, so that a new table can be compared with the old."""
    lines = ["{", f'"paths": {paths},', f'"seed": {SEED},', f'"levels": {json.dumps(LEVELS)},']
    for sides, table in counts.items():
        rows = []
        for (first, last), count in table.items():
            chances = [float(f"{chance:.5g}") for chance in np.cumsum(count) / paths]
            rows.append(f'  "{first}..{last}": {json.dumps(chances)}')
        lines.append(f'"{sides}": {{\n' + ",\n".join(rows) + "\n}" + ("," if sides == "two_sided" else ""))
    TARGET.write_text("\n".join([*lines, "}"]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000_000)
