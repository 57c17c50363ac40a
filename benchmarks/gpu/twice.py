"""(b) A trial twice: are the two bitwise equal, and how far is the CPU from them?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.gpu.job import Job
from kdstudy.results import TrialResult
from kdstudy.study import ResourcesConfig, TrialConfig
from kdstudy.trial import dataset_of, run_trial, teacher_spec

TRANSFERS = ("kd", "attention", "jacobian", "hessian", "{crd: {negatives: 256}}", "reviewkd")


def run(job: Job) -> None:
    """Run each method twice here and once on the CPU."""
    for transfer in TRANSFERS:
        job.measure(transfer, lambda name=transfer: repeated(job.trial(name, steps=4, epochs=2, batch=16)))


def repeated(config: TrialConfig) -> dict[str, Any]:
    """Return whether two runs agree, and the largest difference of any recorded number from the CPU's."""
    (first, numbers), (second, again) = trained(config), trained(config)
    _, there = trained(replace(config, resources=ResourcesConfig()))
    return {
        "weights equal": first.weights_sha256 == second.weights_sha256,
        "numbers equal": numbers == again,
        "from the CPU": max(abs(mine - theirs) for mine, theirs in zip(numbers, there, strict=True)),
        "state": first.state,
    }


def trained(config: TrialConfig) -> tuple[TrialResult, list[float]]:
    """Run a trial; return its result, and the losses and scores of its epochs."""
    numbers: list[float] = []
    spec = teacher_spec(config, dataset_of(config, with_test=False))
    result = run_trial(
        config,
        lambda record, _: numbers.extend(value or 0.0 for value in (record.loss, record.val, record.val_loss)),
        teacher=spec.build(seed=0),
    )
    return result, numbers
