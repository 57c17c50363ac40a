"""What samplers and pruners find for the same compute: the best validation score against trial-epochs spent.

A study of one arm (attention, layer-wise rates, four searched values) on embedded digits, small enough that all of it
runs in minutes: a student of three convolutions. Every sampler under every pruner gets the same trial-epochs, counted
as they are spent, so that what a pruner saves buys further trials; the score is that of the best trial that ran to its
end, which is what a study confirms. Trials are real: proposed by the study's own queue, one after another, and judged
by its own pruners, without Ray. Within a seed, what was trained once is not trained again: start-up trials are the same
for all, and so is any trial of the same number and values, bit for bit.

    python benchmarks/samplers.py [SEEDS [TRIALS]]

TRIALS is the budget in trials of full length. Prints a table of means with 95 % t intervals over seeds, in points of
validation accuracy, and each contender's paired difference from `tpe` under `none`.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from scipy import stats
from timing import table, where  # sets the threads: before torch
from torch import Tensor, nn

import kdstudy
from kdstudy.ledger import Ledger, StudyRecord, TrialRecord
from kdstudy.plugins import PRUNERS
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.search import TrialPlanner
from kdstudy.study import Study, TrialConfig, parse_study
from kdstudy.trial import open_teacher, prepare_teacher, run_trial

Runs = dict[tuple[str, str], list[list[float]]]
"""By sampler and pruner, for each seed: the best score after each epoch spent."""

EPOCHS = 6
SAMPLERS = ("random", "tpe", "cmaes")
PRUNED = {
    "none": "none",
    "asha": "{asha: {grace: 1, reduction: 3}}",
    "median": "{median: {grace: 2, trials: 3}}",
    "patience": "{patience: {epochs: 2}}",
}
STUDY = """
name: samplers
seed: {seed}
data: {{name: digits, val_fraction: 0.5, train_images: 800}}
teacher: {{model: resnet8, epochs: 6}}
student: {{model: "samplers:Small"}}
train: {{epochs: 6, batch_size: 64, base_lr: {{log: [0.003, 1.0]}}}}
arms:
  transfers: [{{attention: {{weight: {{log: [1, 10000]}}}}}}]
  policies: [{{layerwise: {{interval: 1, momentum: {{uniform: [0.0, 0.95]}}, gain: {{uniform: [-0.5, 0.5]}}}}}}]
search: {{sampler: {sampler}, pruner: {pruner}, trials_per_arm: 1000, startup: {startup}, lag: 1}}
confirm: {{seeds: 0}}
cache: {{mode: schedule}}
"""


class Small(nn.Module):
    """Three convolutions, of the sizes at which the teacher's stages give theirs."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        widths = (in_channels, 8, 16, 32)
        for index, (before, after) in enumerate(itertools.pairwise(widths), start=1):
            conv = nn.Conv2d(before, after, 3, stride=min(index, 2), padding=1, bias=False)
            self.add_module(f"layer{index}", nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU()))
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K)."""
        for index in (1, 2, 3):
            images = self.get_submodule(f"layer{index}")(images)
        logits: Tensor = self.fc(images.mean((2, 3)))
        return logits


class StoppedError(Exception):
    """The pruner has stopped the trial."""


class Trainer:
    """Trains trials of one seed, and never the same one twice."""

    def __init__(self, folder: Path, any_trial: TrialConfig) -> None:
        self._folder = folder
        self._teacher = open_teacher(folder / prepare_teacher(any_trial, folder).key)
        self._known: dict[str, tuple[list[EpochRecord], TrialResult | None]] = {}
        self.epochs = 0

    def run(self, trial: TrialRecord, stops: Stops) -> tuple[list[EpochRecord], TrialResult]:
        """Return a trial's epochs, up to where it was stopped, and how it ended."""
        key = json.dumps([trial.number, trial.values])
        records, result = self._known.get(key, ([], None))
        for at in range(1, len(records) + (result is None)):
            if stops(records[:at]):
                return records[:at], TrialResult("stopped", epochs=at, val=records[at - 1].val)
        if result is None:
            records, result = self._train(trial, stops)
            self._known[key] = (records, None if result.state == "stopped" else result)
        return records, result

    def _train(self, trial: TrialRecord, stops: Stops) -> tuple[list[EpochRecord], TrialResult]:
        records: list[EpochRecord] = []

        def report(record: EpochRecord, result: TrialResult | None) -> None:
            records.append(record)
            self.epochs += 1
            if result is None and stops(records):
                raise StoppedError

        config = TrialConfig.from_json(trial.config)
        try:
            return records, run_trial(config, report, teacher=self._teacher, cache=self._folder / "cache" / "study")
        except StoppedError:
            return records, TrialResult("stopped", epochs=len(records), val=records[-1].val)


class Stops:
    """A pruner and what the arm has reported."""

    def __init__(self, study: Study) -> None:
        self._pruner = PRUNERS.load(study.search.pruner.name)(**study.search.pruner.options)
        self._others: list[dict[int, float]] = []

    def __call__(self, records: list[EpochRecord]) -> bool:
        """Return whether a trial with these epochs, not its last, stops."""
        return bool(self._pruner.stops(scores(records), self._others))

    def ended(self, records: list[EpochRecord]) -> None:
        """Take note of a trial that has ended."""
        if scores(records):
            self._others.append(scores(records))


def scores(records: list[EpochRecord]) -> dict[int, float]:
    """Return the validation score after each epoch that has one."""
    return {record.epoch: record.val for record in records if record.val is not None}


def search(study: Study, ledger: Ledger, trainer: Trainer, budget: int) -> tuple[list[float], int]:
    """Run a study until ``budget`` epochs are spent.

    Returns:
        The best score of a trial that had come to its end after each epoch spent (0 before the first), and the trials.
    """
    study_id = f"{study.search.sampler.name}-{study.search.pruner.name}"
    ledger.create_study(StudyRecord(id=study_id, name=study.name, seed=study.seed, text=study.text))
    queue, stops, best = TrialPlanner(study, study_id, ledger, lag=1, seeds=0), Stops(study), [0.0]
    while len(best) <= budget:
        trial = queue.next()
        assert trial is not None
        records, result = trainer.run(trial, stops)
        for record in records:
            ledger.record_epoch(study_id, trial.number, record)
        ledger.finish_trial(study_id, trial.number, result)
        queue.ended(ledger.trial(study_id, trial.number))
        stops.ended(records)
        best += [best[-1]] * (len(records) - 1)
        best.append(max(best[-1], result.val or 0.0) if result.state == "completed" else best[-1])
    return best[1 : budget + 1], len(ledger.trials(study_id))


def main(seeds: int, trials: int) -> None:
    """Run and print."""
    kdstudy.allow_plugins("samplers")
    budget = EPOCHS * trials
    found: Runs = {}
    counts: dict[tuple[str, str], list[int]] = {}
    began, trained = time.process_time(), 0
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder, Ledger.open(f"sqlite:///{folder}/l.db", create=True) as ledger:
            trainer = None
            for sampler, (name, pruner) in itertools.product(SAMPLERS, PRUNED.items()):
                text = STUDY.format(seed=seed, sampler=sampler, pruner=pruner, startup=min(10, trials // 2))
                study = parse_study(text)
                if trainer is None:
                    arm = study.arms[0].name
                    ends = {path: hole.ends()[0] for path, hole in study.space(arm).items()}
                    trainer = Trainer(Path(folder), study.config(arm, ends, data_seed=0, init_seed=0))
                best, count = search(study, ledger, trainer, budget)
                found.setdefault((sampler, name), []).append(best)
                counts.setdefault((sampler, name), []).append(count)
            trained += trainer.epochs if trainer else 0
        print(f"seed {seed}: {time.process_time() - began:.0f} s CPU, {trained} epochs trained", flush=True)
        if seed > 0:
            report(found, counts, budget)


def report(
    found: dict[tuple[str, str], list[list[float]]], counts: dict[tuple[str, str], list[int]], budget: int
) -> None:
    """Print the table."""
    marks = [budget // 4, budget // 2, budget]
    rows = []
    for contender, runs in found.items():
        pairs = zip(runs, found["tpe", "none"], strict=True)
        gain = interval([100 * (run[-1] - base[-1]) for run, base in pairs]) if contender != ("tpe", "none") else ""
        at = [interval([100 * run[mark - 1] for run in runs]) for mark in marks]
        rows.append([*contender, f"{statistics.fmean(counts[contender]):.1f}", *at, gain])
    print(table(["sampler", "pruner", "trials", *(f"{mark} epochs" for mark in marks), "minus tpe, none"], rows))
    print(where(), flush=True)


def interval(values: list[float]) -> str:
    """Return ``mean +- half`` of the 95 % t interval."""
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.fmean(values):.2f} ± {half:.2f}"


if __name__ == "__main__":
    numbers = [int(value) for value in sys.argv[1:]]
    main(*(numbers + [5, 10][len(numbers) :]))
