"""(c) A step with every option beside a plain loop: ms, images a second, shares of the device's own rates.

A share is what a step asks for (operations, or bytes that its operations read and write) by the measured rate: 1 would
be a step that only multiplies, or only copies. The batch is there; what making one takes is a row of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional

from benchmarks.gpu import rates
from benchmarks.gpu.job import Job, read_rows
from kdstudy.study import TrialConfig
from kdstudy.training import choose_device, fixed_numerics, generator
from kdstudy.trial import dataset_of, teacher_spec, training_batches
from kdstudy.trial.inputs import OwnInputs
from kdstudy.trial.run import TrialRun

FAST = ", TF32 and cuDNN's choice"
PAIRS = (("resnet20", "resnet56"), ("resnet8x4", "resnet32x4"), ("wrn_16_2", "wrn_40_2"))
TRANSFERS = ("none", "kd", "attention", "{jacobian: {fraction: 0.25}}", "{hessian: {fraction: 0.25}}", "crd")
NUMERICS = (
    "{deterministic: false}",
    "{optimizer: loop}",
    "{optimizer: fused}",
    "{graph: auto}",
    "{memory_format: channels_last}",
    "{student: bfloat16}",
    "{student: bfloat16, memory_format: channels_last}",
    "{teacher: folded}",
    "{teacher: bfloat16}",
    "{student: bfloat16, teacher: bfloat16, memory_format: channels_last}",
)


def run(job: Job) -> None:
    """Measure the rates, then the pairs, the plain loop first."""
    rates.run(replace(job, part="rates"))
    pairs = (("resnet8", "resnet14"),) if job.small else PAIRS
    for (student, teacher), batch in itertools.product(pairs, (16,) if job.small else (64, 512)):
        shape: dict[str, Any] = {"student": student, "teacher": teacher, "batch": batch}
        told = f"{student} <- {teacher}, batch {batch}"
        for fast in (False, True):
            key = f"{told}: plain loop" + FAST * fast
            job.measure(key, lambda a=fast, d=shape: plain(job, job.trial("none", **d), fast=a))
        job.measure(f"{told}: a batch made", lambda shape=shape: made(job, job.trial("none", **shape)))
        cases = [(name, "{}", False) for name in TRANSFERS] + [("kd", numerics, False) for numerics in NUMERICS]
        for transfer, numerics, fast in [*cases, ("none", "{}", True), ("kd", "{}", True)]:
            key = f"{told}: {transfer}" + f" {numerics}" * (numerics != "{}") + FAST * fast
            job.measure(key, lambda a=transfer, b=numerics, c=fast, d=shape: ours(job, a, b, c, d))


def ours(job: Job, transfer: str, numerics: str, fast: bool, shape: dict[str, Any]) -> dict[str, Any]:
    """Measure kdstudy's step."""
    config = job.trial(transfer, numerics=numerics, **shape)
    kernels = fixed_numerics(1, deterministic=config.numerics.deterministic)
    with kernels, begun(config) as trial, allowed(fast):
        batch = next(training_batches(config, trial.data, trial.device, 1))

        def steps(count: int) -> None:
            directions = generator(0, "directions", 1)
            batches = itertools.repeat(batch, count)
            trial.distiller.begin_epoch(1, batches, steps=count, directions=directions, multipliers={}).run()

        return timed(job, (steps, shape["batch"]))


@contextmanager
def begun(config: TrialConfig) -> Iterator[TrialRun]:
    """Build a trial with an untrained teacher."""
    data = dataset_of(config, with_test=False)
    teacher = None if config.transfer.name == "none" else teacher_spec(config, data).build(seed=0)
    trial = TrialRun(config, OwnInputs(choose_device(config.resources.gpus)), teacher=teacher)
    try:
        yield trial
    finally:
        trial.close()


@contextmanager
def allowed(fast: bool) -> Iterator[None]:
    """Allow TF32 and cuDNN's choice of kernels, none of them bound to repeat itself."""
    if not fast:
        yield
        return
    backends = torch.backends
    torch.use_deterministic_algorithms(False)
    backends.cudnn.benchmark = backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        backends.cudnn.benchmark = backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = False


def plain(job: Job, config: TrialConfig, *, fast: bool) -> dict[str, Any]:
    """Measure a hand-written loop of the same student under the same settings."""
    with begun(config) as trial:
        module = trial.student.module.train()
        images, labels, _ = next(training_batches(config, trial.data, trial.device, 1))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(module(images), labels).backward()
            optimizer.step()

    with fixed_numerics(1), allowed(fast):
        return timed(job, (steps, len(images)))


def made(job: Job, config: TrialConfig) -> dict[str, Any]:
    """Measure what drawing, gathering and augmenting a batch takes, the images on the device."""
    with begun(config) as trial:

        def epoch() -> None:
            for _ in training_batches(config, trial.data, trial.device, 1):
                pass

        steps = len(trial.data.train) // config.train.batch_size
        return {"ms": 1e3 * rates.best(job, epoch, rounds=3, calls=1) / steps}


def timed(job: Job, what: tuple[Callable[[int], None], int]) -> dict[str, Any]:
    """Return the time of a step, as ms, images a second and shares of the measured rates."""
    steps, images = what
    count = 2 if job.small else 50
    steps(2)
    flops, moved = rates.asked(lambda: steps(1))
    seconds = rates.best(job, lambda: steps(count), rounds=3, calls=1) / count
    can = {row["what"]: row for row in read_rows(job.out / "rates.jsonl")}
    row = {"ms": 1e3 * seconds, "images/s": images / seconds, "GFLOP": flops / 1e9, "GB": moved / 1e9}
    for name in rates.KINDS:
        if "TFLOPS" in can.get(name, {}):
            row[f"share of {name}"] = flops / seconds / 1e12 / can[name]["TFLOPS"]
    if "GB/s" in can.get("copy", {}):
        row["share of copy"] = moved / seconds / 1e9 / can["copy"]["GB/s"]
    if not job.small:
        row["peak GB"] = torch.cuda.max_memory_allocated() / 1e9
        torch.cuda.reset_peak_memory_stats()
    return row
