"""What the layer-wise rule's normalisation does to rates and scores: digits, attention transfer, resnet20 -> resnet8.

Prints for each gain and normalisation the validation accuracy after the last epoch, mean and standard deviation over
seeds, and the mean parameter's learning rate, as a factor on the base rate, over the epochs after the first update.
``before`` is what versions did whose study files said ``normalise: true``.

    python benchmarks/mean_rates.py [SEEDS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from kdstudy.layerwise import layer_sizes
from kdstudy.results import EpochRecord
from kdstudy.seeds import confirm_seed
from kdstudy.study import TrialConfig, parse_study
from kdstudy.trial import dataset_of, open_teacher, prepare_teacher, run_trial
from kdstudy.trial.build import student_spec

STUDY = """
name: mean-rates
seed: 0
data: {{name: digits, val_fraction: 0.2}}
teacher: {{model: resnet20, epochs: 20}}
student: {{model: resnet8}}
train: {{epochs: 10, batch_size: 64, base_lr: 0.1, weight_decay: 5.0e-4, schedule: cosine}}
arms:
  transfers: [{{attention: {{weight: 30}}}}]
  policies: [{{layerwise: {{interval: 1, momentum: 0.5, gain: {gain}}}}}]
search: {{trials_per_arm: 1}}
confirm: {{seeds: 0}}
"""


def main(seeds: int) -> None:
    """Run and print the table."""
    print(f"| gain | normalise | validation accuracy of {seeds} seeds | mean (sd) | rate of the mean parameter |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for gain in (0.0, 0.5, -0.5):
            for normalise in ("before", "layers", "parameters") if gain else ("parameters",):
                print(row(gain, normalise, seeds, Path(folder)), flush=True)


def row(gain: float, normalise: str, seeds: int, folder: Path) -> str:
    """Return one line of the table."""
    study = parse_study(STUDY.format(gain=gain), "mean-rates")
    scores, rates = [], []
    for index in range(seeds):
        seed = confirm_seed(0, index)
        config = study.config("attention/layerwise", {}, data_seed=seed, init_seed=seed)
        options = {**config.policy.options, "normalise": True if normalise == "before" else normalise}
        config = replace(config, policy=replace(config.policy, options=options))
        teacher = open_teacher(folder / prepare_teacher(config, folder).key)
        records: list[EpochRecord] = []
        result = run_trial(config, lambda record, _: records.append(record), teacher=teacher)  # noqa: B023 - at once
        assert result.val is not None
        scores.append(result.val)
        rates += mean_rates(config, records)
    shown = ", ".join(f"{score:.3f}" for score in scores)
    spread = statistics.stdev(scores) if seeds > 1 else 0.0
    mean = f"{statistics.fmean(scores):.4f} ({spread:.4f})"
    rate = f"{statistics.fmean(rates):.3f} ({min(rates):.3f} - {max(rates):.3f})"
    return f"| {gain:g} | {normalise} | {shown} | {mean} | {rate} |"


def mean_rates(config: TrialConfig, records: list[EpochRecord]) -> list[float]:
    """Return the mean multiplier over the parameters of the crucial layers after each update."""
    data = dataset_of(config, with_test=False)
    layers = [layer.layer for layer in records[0].layers]
    sizes = layer_sizes(student_spec(config, data).build(config.init_seed), layers, data.image_shape)
    return [
        sum(size * layer.multiplier for size, layer in zip(sizes, record.layers, strict=True)) / sum(sizes)
        for record in records
        if record.layers
    ]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
