"""How the normalisation of derivative maps bears large weights: digits, resnet20 -> resnet8, constant rate.

Prints the validation accuracy after the last epoch, mean and range over seeds, for each method, normalisation and
weight, and counts two ways to fail: ``diverged`` are runs without a score, whose loss was not finite or whose student
had a map of zeros over a whole batch; ``collapsed`` are runs that end below twice chance, 0.2. ``running`` is what
records of earlier versions hold; no study file can ask for it.

    python benchmarks/derivative_norms.py [SEEDS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from kdstudy.seeds import confirm_seed
from kdstudy.study import parse_study
from kdstudy.trial import open_teacher, prepare_teacher, run_trial

STUDY = """
name: derivative-norms
seed: 0
data: {{name: digits, val_fraction: 0.2}}
teacher: {{model: resnet20, epochs: 20}}
student: {{model: resnet8}}
train: {{epochs: 10, batch_size: 64, base_lr: 0.05}}
arms:
  transfers: [{{{method}: {{weight: {weight}}}}}]
  policies: [constant]
search: {{trials_per_arm: 1}}
confirm: {{seeds: 0}}
"""


COLLAPSED = 0.2


def main(seeds: int) -> None:
    """Run and print the table."""
    accuracy = f"validation accuracy, mean (lowest - highest) of {seeds}"
    print(f"| method | normalise | weight | {accuracy} | diverged | collapsed: below {COLLAPSED} |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for method in ("jacobian", "hessian"):
            for normalise in ("running", "batch", "sample", "teacher"):
                for weight in (0.01, 0.1, 1.0, 10.0):
                    found = scores(method, normalise, weight, seeds, Path(folder))
                    print(f"| {method} | {normalise} | {weight:g} | {row(found)} |", flush=True)


def scores(method: str, normalise: str, weight: float, seeds: int, folder: Path) -> list[float | None]:
    """Return the validation accuracy of each seed's run, None for one that diverged."""
    study = parse_study(STUDY.format(method=method, weight=weight), "derivative-norms")
    found = []
    for index in range(seeds):
        seed = confirm_seed(0, index)
        config = study.config(f"{method}/constant", {}, data_seed=seed, init_seed=seed)
        transfer = replace(config.transfer, options={**config.transfer.options, "normalise": normalise})
        config = replace(config, transfer=transfer)
        teacher = open_teacher(folder / prepare_teacher(config, folder).key)
        found.append(run_trial(config, lambda _record, _result: None, teacher=teacher).val)
    return found


def row(found: list[float | None]) -> str:
    """Return the columns that are measured."""
    ended = [score for score in found if score is not None]
    shown = f"{statistics.fmean(ended):.3f} ({min(ended):.3f} - {max(ended):.3f})" if ended else "-"
    collapsed = sum(score < COLLAPSED for score in ended)
    return f"{shown} | {len(found) - len(ended)} of {len(found)} | {collapsed} of {len(found)}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
