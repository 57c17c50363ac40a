"""Whether verdicts are wrong as seldom as they say: real studies of a treatment that does nothing, and of a harm.

Each study is one of the product's: `confirm: {searches: 5, seeds: 2}` on the embedded digits, one transfer, two arms,
its trials proposed by the study's own planner, trained by `run_trial` and picked as in any study, one after another in
this process, without Ray. Small networks of three convolutions make a trial cost a sixth of a second. The cases:

    placebo   `constant` against `placebo`, which does nothing
    weights   `constant` against `constant` with other initial weights, in search and confirmation
    short     `constant` against `constant` trained for two epochs of three: truly worse, to see how often it is found

The first two have five confirmation seeds, of which the last three, as with `kdstudy confirm --seeds 5`, are there to
judge each search by itself, as it was done before. Studies are independent: each has a seed of its own, also over cases
and samplers. They share one teacher, so that it is trained once; all is conditional on it and on the test images.

    python -m benchmarks.calibration run FILE FIRST LAST [--case CASE ...] [--sampler SAMPLER ...]
    python -m benchmarks.calibration report FILE ...

`run` does studies FIRST to LAST - 1 of each case and sampler in turn, and appends a line of JSON for every search. What
FILE already has is not trained again: a run that was killed loses one search. Processes may share the work, each with
its own range of studies and the same file or another. `report` prints the tables of docs/calibration.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import kdstudy
from kdstudy.ledger import DatasetInfo, Ledger, StudyRecord, TrialRecord
from kdstudy.results import TrialResult
from kdstudy.search import TrialPlanner
from kdstudy.seeds import derive
from kdstudy.study import Study, TrialConfig, parse_study
from kdstudy.trial import open_teacher, prepare_teacher, run_trial

Line = dict[str, Any]
"""One search: its case, sampler and number, and by policy the validation scores of its trials and the test scores of
its confirmation; null is a run that diverged. An arm without a pick has no test scores."""

SEED = 20_261_128
SEARCHES = 5
SEEDS = 2
CHANCE = 0.1
SAMPLERS = ("tpe", "random")
STUDY = """
name: calibration
seed: {seed}
data: {{name: digits, val_fraction: 0.2, train_images: 320}}
teacher: {{model: "benchmarks.calibration:Teacher", epochs: 20}}
student: {{model: "benchmarks.calibration:Student"}}
train: {{epochs: 3, batch_size: 32, base_lr: {{log: [0.01, 1.0]}}}}
arms:
  transfers: [attention: {{weight: {{log: [0.1, 10]}}}}]
  policies: [constant, {policy}]
search: {{sampler: {sampler}, trials_per_arm: {trials}, lag: 1}}
confirm: {{searches: {searches}, seeds: {seeds}}}
cache: {{mode: "off"}}
"""


class Student(nn.Module):
    """Three convolutions.

    Args:
        num_classes: Logits.
        in_channels: Of the images.
    """

    WIDTHS = (8, 16, 32)

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        for index, (before, after) in enumerate(pairwise((in_channels, *self.WIDTHS)), start=1):
            conv = nn.Conv2d(before, after, 3, stride=min(index, 2), padding=1, bias=False)
            self.add_module(f"layer{index}", nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU()))
        self.fc = nn.Linear(self.WIDTHS[-1], num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return logits, (B, K)."""
        for index in (1, 2, 3):
            images_BCHW = self.get_submodule(f"layer{index}")(images_BCHW)
        logits: Tensor = self.fc(images_BCHW.mean((2, 3)))
        return logits


class Teacher(Student):
    """The same, of twice the width."""

    WIDTHS = (16, 32, 64)


@dataclass(frozen=True)
class Case:
    """What is compared with `constant`.

    Args:
        policy: The treatment in the study file.
        treatment: Its name.
        seeds: Confirmation seeds of a search in all.
        change: What this benchmark changes in the treatment's trials, which no study file can say.
    """

    policy: str
    treatment: str
    seeds: int
    change: Callable[[TrialConfig], TrialConfig] = lambda config: config


def _other_weights(config: TrialConfig) -> TrialConfig:
    return replace(config, init_seed=derive(config.init_seed, "other weights"))


def _an_epoch_less(config: TrialConfig) -> TrialConfig:
    return replace(config, train=replace(config.train, epochs=config.train.epochs - 1))


CASES: Mapping[str, Case] = {
    "placebo": Case("placebo", "placebo", 5),
    "weights": Case("constant: {label: other}", "other", 5, _other_weights),
    "short": Case("constant: {label: short}", "short", SEEDS, _an_epoch_less),
}


@dataclass(frozen=True)
class Cell:
    """Studies that differ in their seeds alone.

    Args:
        case: A name of `CASES`.
        sampler: Of the search.
        trials: Of each arm in a search.
        searches: Of each study.
    """

    case: str
    sampler: str
    trials: int = 6
    searches: int = SEARCHES

    def study(self, number: int) -> Study:
        """Return one of them."""
        text = STUDY.format(
            seed=derive(SEED, self.case, self.sampler, number),
            policy=CASES[self.case].policy,
            sampler=self.sampler,
            trials=self.trials,
            searches=self.searches,
            seeds=SEEDS,
        )
        return parse_study(text, f"{self.case}, {self.sampler}, {number}")


@cache
def make_teacher() -> nn.Module:
    """Train the teacher of all studies, once a process: it is the same each time."""
    study = Cell("placebo", "random").study(0)
    config = study.corner(study.arms[0], 0)
    with tempfile.TemporaryDirectory() as folder:
        return open_teacher(Path(folder) / prepare_teacher(config, Path(folder)).key)


def searches_of(
    cell: Cell, number: int, teacher: nn.Module, ledger: Ledger, known: Mapping[int, Line]
) -> Iterator[Line]:
    """Do a study in an empty ledger, and yield each search that is not known as soon as it is over.

    Args:
        cell: The study's kind.
        number: Which of its studies, from 0.
        teacher: Of all studies.
        ledger: Where it is recorded, as any study.
        known: By number within the study, searches that were done earlier: they are recorded, not trained.
    """
    study, case = cell.study(number), CASES[cell.case]
    record = StudyRecord("calibration-0", study.name, study.seed, study.text, dataset=DatasetInfo(chance=CHANCE))
    ledger.create_study(record)
    planner = TrialPlanner(study, record.id, ledger, lag=1, seeds=case.seeds, searches=cell.searches)
    trial = planner.next()
    while trial is not None:
        search, began = trial.search, time.process_time()
        line: Line = {"case": cell.case, "sampler": cell.sampler, "number": number * cell.searches + search}
        line |= {phase: {policy: [] for policy in ("constant", case.treatment)} for phase in ("search", "confirm")}
        while trial is not None and trial.search == search:
            before = known.get(search)
            score = (
                _score(trial, case, teacher)
                if before is None
                else before[trial.phase][trial.arm_id.policy][trial.index]
            )
            line[trial.phase][trial.arm_id.policy].append(score)
            ledger.finish_trial(record.id, trial.number, _result(trial, score))
            planner.ended(ledger.trial(record.id, trial.number))
            trial = planner.next()
        if search not in known:
            yield line | {"seconds": round(time.process_time() - began, 2)}


def _score(trial: TrialRecord, case: Case, teacher: nn.Module) -> float | None:
    """Train a trial and return its score, on validation or on test; None if it diverged."""
    config, confirms = TrialConfig.from_json(trial.config), trial.phase == "confirm"
    if trial.arm_id.policy == case.treatment:
        config = case.change(config)
    result = run_trial(config, lambda _record, _result: None, teacher=teacher, with_test=confirms)
    return result.test if confirms else result.val


def _result(trial: TrialRecord, score: float | None) -> TrialResult:
    """Return how a trial ended that scored so; epochs play no part, as nothing is stopped early."""
    if score is None:
        return TrialResult("diverged", epochs=0)
    return TrialResult("completed", epochs=0, val=score, test=score if trial.phase == "confirm" else None)


def read(files: Iterable[Path]) -> list[Line]:
    """Return the searches in these files, the first of equals; a line that a kill cut off is left out."""
    found: dict[tuple[str, str, int], Line] = {}
    for text in (text for file in files if file.exists() for text in file.read_text(encoding="utf-8").splitlines()):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        found.setdefault((line["case"], line["sampler"], line["number"]), line)
    return list(found.values())


def append(file: Path, line: Line) -> None:
    """Add a search in one write, on a line of its own even behind one that a kill cut off."""
    text = json.dumps(line) + "\n"
    if file.exists() and (before := file.read_bytes()) and not before.endswith(b"\n"):
        text = "\n" + text
    with file.open("a", encoding="utf-8") as target:
        target.write(text)


def run(file: Path, studies: Iterable[int], cells: Sequence[Cell]) -> None:
    """Do studies of each cell in turn, but for the searches that the file has."""
    kdstudy.allow_plugins("benchmarks")
    done = {(line["case"], line["sampler"], line["number"]): line for line in read([file])}
    for number, cell in product(studies, cells):
        places = (
            (search, (cell.case, cell.sampler, number * cell.searches + search)) for search in range(cell.searches)
        )
        known = {search: done[place] for search, place in places if place in done}
        if len(known) < cell.searches:
            with tempfile.TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
                for line in searches_of(cell, number, make_teacher(), ledger, known):
                    append(file, line)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run or report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration")
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="do studies")
    running.add_argument("file", type=Path)
    running.add_argument("first", type=int)
    running.add_argument("last", type=int, help="the first that is not done")
    running.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    running.add_argument("--sampler", nargs="+", choices=SAMPLERS, default=SAMPLERS)
    reporting = commands.add_parser("report", help="print what they say")
    reporting.add_argument("files", type=Path, nargs="+")
    asked = parser.parse_args(arguments)
    if asked.command == "run":
        cells = [Cell(case, sampler) for case in asked.case for sampler in asked.sampler]
        run(asked.file, range(asked.first, asked.last), cells)
    else:
        from benchmarks.calibration_report import report

        print(report(read(asked.files)))


if __name__ == "__main__":
    main()
