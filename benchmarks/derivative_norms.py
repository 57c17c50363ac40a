"""How the normalisation of derivative maps bears large weights: digits, resnet20 -> resnet8, constant rate.

Prints the validation accuracy after the last epoch, mean and range over seeds, for each method, normalisation and
weight; ``collapsed`` counts runs whose student maps vanished or whose loss was not finite.

    python benchmarks/derivative_norms.py [SEEDS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
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
  transfers: [{{{method}: {{weight: {weight}, normalise: {normalise}}}}}]
  policies: [constant]
search: {{trials_per_arm: 1}}
confirm: {{seeds: 0}}
"""


def main(seeds: int) -> None:
    """Run and print the table."""
    print(f"| method | normalise | weight | validation accuracy, mean (lowest - highest) of {seeds} | collapsed |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for method in ("jacobian", "hessian"):
            for normalise in ("running", "batch", "sample"):
                for weight in (0.01, 0.1, 1.0, 10.0):
                    print(row(method, normalise, weight, seeds, Path(folder)), flush=True)


def row(method: str, normalise: str, weight: float, seeds: int, folder: Path) -> str:
    """Return one line of the table."""
    study = parse_study(STUDY.format(method=method, normalise=normalise, weight=weight), "derivative-norms")
    scores, collapsed = [], 0
    for index in range(seeds):
        seed = confirm_seed(0, index)
        config = study.config(f"{method}/constant", {}, data_seed=seed, init_seed=seed)
        teacher = open_teacher(folder / prepare_teacher(config, folder).key)
        result = run_trial(config, lambda _record, _result: None, teacher=teacher)
        if result.val is None:
            collapsed += 1
        else:
            scores.append(result.val)
    shown = f"{statistics.fmean(scores):.3f} ({min(scores):.3f} - {max(scores):.3f})" if scores else "-"
    return f"| {method} | {normalise} | {weight:g} | {shown} | {collapsed} of {seeds} |"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
