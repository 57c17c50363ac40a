"""(d) Trials an hour on one device: in packs of one process, and in processes side by side.

A trial here is 240 epochs of 703 steps: CIFAR-100 at batch 64, a tenth of the images for validation. Its steps are
measured for some seconds after its first epoch, validation included.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from queue import Empty
from typing import Any

import torch

from benchmarks.gpu.job import Job
from kdstudy.trial import dataset_of, run_pack, teacher_spec

COUNTS = (1, 2, 4, 8, 16)
STEPS_OF_A_TRIAL = 240 * 703
PAIR = {"student": "resnet20", "teacher": "resnet56"}
AT_ONCE = "{packs: vmap}"
LONGEST = 100_000
"""Epochs: it is stopped by the clock."""


def run(job: Job) -> None:
    """Measure packs, then processes, then both."""
    counts = COUNTS[:2] if job.small else COUNTS
    cases = [(1, members) for members in counts] + [(processes, 1) for processes in counts[1:]]
    for processes, members in cases if job.small else [*cases, (4, 4)]:
        key = f"processes {processes}, pack {members}"
        job.measure(key, lambda p=processes, m=members: side_by_side(job, p, m))
    for members in counts[1:]:
        key = f"processes 1, pack {members} {AT_ONCE}"
        job.measure(key, lambda m=members: side_by_side(job, 1, m, AT_ONCE))


def side_by_side(job: Job, processes: int, members: int, numerics: str = "{}") -> dict[str, Any]:
    """Return trials an hour of so many processes with so many members each."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(processes), context.Queue()
    running = [context.Process(target=worker, args=(job, members, numerics, barrier, queue)) for _ in range(processes)]
    for each in running:
        each.start()
    try:
        told = [queue.get(timeout=120) for _ in running]
    except Empty:
        told = ["a process gave no answer"]
    finally:
        for each in running:
            each.join(timeout=5)
            each.kill()
    errors = [each for each in told if isinstance(each, str)]
    if errors:
        raise RuntimeError(errors[0])
    steps = sum(rate for rate, _ in told)
    return {"steps/s": steps, "trials/h": 3600 * steps / STEPS_OF_A_TRIAL, "peak GB": sum(peak for _, peak in told)}


def worker(job: Job, members: int, numerics: str, barrier: Any, queue: Any) -> None:
    """Tell a pack's steps a second and the device's memory that it took; or, in words, what went wrong."""
    try:
        queue.put((steps_a_second(job, members, numerics, lambda: barrier.wait(timeout=100)), memory(job)))
    except Exception as error:  # noqa: BLE001 -- told to the process that waits
        queue.put(f"{type(error).__name__}: {error}")


def steps_a_second(job: Job, members: int, numerics: str, ready: Callable[[], object]) -> float:
    """Train a pack until the clock stops it; ``ready`` returns once all processes are past their first epoch."""
    window, steps = (1.0, 2) if job.small else (4.0, 20)
    shape = {"student": "resnet8", "teacher": "resnet14", "batch": 16} if job.small else PAIR
    configs = {
        k: job.trial("kd", steps=steps, epochs=LONGEST, seed=k, numerics=numerics, **shape) for k in range(members)
    }
    teacher = teacher_spec(configs[0], dataset_of(configs[0], with_test=False)).build(seed=0)
    ends: list[float] = []  # of epochs, by the last member, whose turn it may be before the others'

    def report(_: int, record: Any, result: Any) -> bool:
        if record is None:
            raise RuntimeError(result.error)
        told[record.epoch] = told.get(record.epoch, 0) + 1
        if told[record.epoch] == members:
            if not ends:
                ready()
            ends.append(job.wait())
        return len(ends) < 2 or ends[-1] - ends[0] < window

    told: dict[int, int] = {}
    run_pack(configs, report, teacher=teacher)
    return (len(ends) - 1) * members * steps / (ends[-1] - ends[0])


def memory(job: Job) -> float:
    """Return the most GB that this process has held on the device."""
    return 0.0 if job.small else torch.cuda.max_memory_reserved() / 1e9
