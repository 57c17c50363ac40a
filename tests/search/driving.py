"""A made-up study, driven through the planner without training anything."""

from __future__ import annotations

import random
from pathlib import Path

from kdstudy.ledger import Ledger, StudyRecord, TrialRecord
from kdstudy.results import TrialResult
from kdstudy.search.planner import TrialPlanner
from kdstudy.study import Study, parse_study

TEXT = """
name: queue
seed: 5
data: {name: synthetic}
teacher: {model: resnet8, epochs: 1}
student: {model: resnet8}
train: {epochs: 4, batch_size: 32, base_lr: {log: [0.01, 1.0]}}
arms:
  transfers: [{attention: {weight: {log: [1, 100]}}, }, none]
  policies: [constant, {layerwise: {interval: 1, gain: {uniform: [-0.5, 0.5]}}}]
search: {trials_per_arm: 6, sampler: SAMPLER}
confirm: {seeds: 2}
"""


def study_of(sampler: str = "tpe", confirm: str = "seeds: 2") -> Study:
    return parse_study(TEXT.replace("SAMPLER", sampler).replace("seeds: 2", confirm), "queue.yaml")


def score(trial: TrialRecord) -> float:
    """A made-up objective: a function of the values alone."""
    return round(0.5 + 0.4 / (1 + abs(trial.values["train.base_lr"] - 0.2)) - 0.001 * trial.index, 6)


def ledger_with(path: Path, study: Study) -> Ledger:
    ledger = Ledger.open(f"sqlite:///{path}", create=True)
    ledger.create_study(StudyRecord(id="queue-00000000", name=study.name, seed=study.seed, text=study.text))
    return ledger


def drive(
    ledger: Ledger,
    study: Study,
    *,
    slots: int,
    order: random.Random,
    lag: int = 1,
    limit: int = 10**6,
    seeds: int = 2,
    searches: int | None = None,
    broken: frozenset[str] = frozenset(),
) -> int:
    """Run the queue dry on ``slots`` slots whose trials end in random order; return how many ended."""
    ledger.requeue("queue-00000000")
    queue = TrialPlanner(
        study,
        "queue-00000000",
        ledger,
        lag=lag,
        seeds=seeds,
        searches=searches or study.confirm.searches,
        guesses=ledger.guesses("queue-00000000"),
    )
    running: list[TrialRecord] = []
    ended = 0
    while len(queue) or running:
        while len(running) < slots and (trial := queue.next()) is not None:
            ledger.start_trial("queue-00000000", trial.number)
            running.append(trial)
        assert running, "trials are left, none of them runs, and the planner gives none"
        trial = running.pop(order.randrange(len(running)))
        state = "failed" if trial.arm in broken else "completed"
        val = None if state == "failed" else score(trial)
        ledger.finish_trial("queue-00000000", trial.number, TrialResult(state, epochs=4, val=val))
        queue.ended(ledger.trial("queue-00000000", trial.number))
        ended += 1
        if ended == limit:
            break
    return ended


def plan(ledger: Ledger) -> list[tuple]:
    return [
        (t.number, t.arm, t.phase, t.search, t.index, t.data_seed, t.init_seed, tuple(t.values.items()))
        for t in ledger.trials("queue-00000000")
    ]
