"""Draws docs/images/verdict.svg: one search against five, on a policy that does nothing.

``python -m benchmarks.verdict_picture`` reads what `benchmarks.calibration` measured (its ``placebo`` under ``tpe``:
250 searches, or 50 studies of five) and draws every 95 % interval; those without 0 are wrong. Needs matplotlib, which
mlflow brings.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from scipy import stats

from benchmarks.calibration import read

HERE = Path(__file__).parent
PICTURE = HERE.parent / "docs" / "images" / "verdict.svg"
CASE, SAMPLER, SEARCHES, SEEDS = "placebo", "tpe", 5, 2


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Return mean and 95 % t interval of the differences, in points."""
    mean = float(differences.mean())
    half = float(stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences)))
    return mean, mean - half, mean + half


def differences() -> np.ndarray:
    """Return points of test score, treatment minus baseline, (searches, seeds)."""
    lines = [line for line in read([HERE / "calibration.jsonl"]) if (line["case"], line["sampler"]) == (CASE, SAMPLER)]
    lines.sort(key=lambda line: line["number"])
    scores = [np.subtract(line["confirm"][CASE], line["confirm"]["constant"]) for line in lines]
    return 100 * np.array(scores, dtype=float)


def draw(axes: Axes, intervals: list[tuple[float, float, float]], title: str) -> None:
    """Draw one line for each interval, red where 0 is outside."""
    wrong = 0
    for place, (mean, low, high) in enumerate(intervals):
        outside = low > 0 or high < 0
        wrong += outside
        colour = "#d1242f" if outside else "#8c959f"
        axes.plot([place, place], [low, high], color=colour, linewidth=1.0 if len(intervals) > 100 else 2.2)
        axes.plot([place], [mean], ".", color=colour, markersize=2 if len(intervals) > 100 else 5)
    axes.axhline(0, color="#57606a", linewidth=0.8)
    axes.set_ylim(-45, 45)
    axes.set_xticks([])
    axes.set_xlabel(f"{len(intervals)} {title}: {wrong} are wrong, {wrong / len(intervals):.0%}", fontsize=11)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def main() -> None:
    """Draw both panels."""
    mpl.rcParams.update({"svg.hashsalt": "kdstudy", "font.family": "sans-serif", "svg.fonttype": "none"})
    scores = differences()
    single = [interval(search) for search in scores]
    of_searches = scores[:, :SEEDS].mean(1)
    studies = [interval(of_searches[first : first + SEARCHES]) for first in range(0, len(of_searches), SEARCHES)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), sharey=True, width_ratios=[3, 2])
    draw(left, single, "searches of five seeds")
    draw(right, studies, "studies of five searches")
    left.set_ylabel("difference, points, 95 % interval")
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main()
