"""How much faster two ranks of one CPU core take a step than one process on one: gloo, one thread each.

An epoch by one process and one by two ranks run in turn, in reversed order every other round. Two numbers: by the
clock, which holds on a quiet machine alone; and by CPU time, one process's over the busier rank's, which hardly depends
on neighbours, but leaves out what the ranks wait for each other.

    python benchmarks/ranks.py [ROUNDS [STEPS [METHOD]]]
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from timing import ratio, table, where
from torch._C._distributed_c10d import FileStore
from trainers import BATCH, CPU, DECAY, MOMENTUM, RATE, SHAPE, STUDY, network, noise

from kdstudy.layerwise import layer_groups
from kdstudy.study import parse_study
from kdstudy.training import ALONE, BatchShare, Distiller, Ranks, SgdSettings, fixed_numerics, generator, joined
from kdstudy.trial import OutputsRecipe, build_transfer, networks, teacher_outputs, training_batches
from kdstudy.trial.rank_processes import LocalRanks, networked

CASES = (
    ("resnet20", "resnet20", "none"),
    ("resnet20", "resnet56", "kd"),
    ("resnet8x4", "resnet32x4", "attention"),
    ("resnet8x4", "resnet32x4", "jacobian"),
    ("resnet8x4", "resnet32x4", "sp"),
)


def main(rounds: int, steps: int, method: str | None = None) -> None:
    """Print the table."""
    print(where(), f"{rounds} rounds of {steps} steps of {BATCH} images", flush=True)
    rows = []
    for case in (case for case in CASES if method in (None, case[2])):
        rows.append(row(case, rounds, steps))
        print(rows[-1], flush=True)
    print(table(["student <- teacher", "method", "times as fast, by CPU time", "by the clock", "s a step, one"], rows))


def row(case: tuple[str, str, str], rounds: int, steps: int) -> list[str]:
    """Return one line of the table."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        teams = []
        for size in (1, 2):
            pipes = [context.Pipe() for _ in range(size)]
            workers = [
                context.Process(target=work, args=(pipes[rank][1], case, steps, rank, size, folder), daemon=True)
                for rank in range(size)
            ]
            for worker in workers:
                worker.start()
            teams.append([pipe for pipe, _ in pipes])
        cpu: dict[str, list[float]] = {"one": [], "two": []}
        wall: dict[str, list[float]] = {"one": [], "two": []}
        turns = list(zip(("one", "two"), teams, strict=True))
        for number in range(rounds + 1):
            for name, team in turns if number % 2 else reversed(turns):
                began = time.perf_counter()
                for pipe in team:
                    pipe.send(True)
                busiest = max(pipe.recv() for pipe in team)
                if number:
                    cpu[name].append(busiest)
                    wall[name].append(time.perf_counter() - began)
        for team in teams:
            for pipe in team:
                pipe.send(False)
    student, teacher, method = case
    by = [ratio(seconds, "one", "two") for seconds in (cpu, wall)]
    return [f"{student} <- {teacher}", method, *by, f"{min(cpu['one']) / steps:.3f}"]


def work(pipe: Connection, case: tuple[str, str, str], steps: int, rank: int, size: int, folder: str) -> None:
    """Run an epoch whenever told to, and tell its CPU seconds."""
    with fixed_numerics(1):
        if size == 1:
            serve(pipe, epoch_of(case, steps, ALONE))
            return
        store = FileStore(str(Path(folder) / "store"), size)
        with networked(LocalRanks.interface), joined(store, rank, size, CPU) as ranks:
            serve(pipe, epoch_of(case, steps, ranks))


def serve(pipe: Connection, epoch: Any) -> None:
    """Answer until told to stop."""
    while pipe.recv():
        began = time.process_time()
        epoch()
        pipe.send(time.process_time() - began)


def epoch_of(case: tuple[str, str, str], steps: int, ranks: Ranks) -> Any:
    """Return what runs an epoch on one of the ranks."""
    student, teacher, transfer = case
    data = noise(steps)
    text = STUDY.format(teacher=teacher, student=student, transfer=transfer, cache="off", numerics="{}")
    study = parse_study(text)
    config = study.config(study.arms[0].name, {}, data_seed=1, init_seed=2)
    built = networks(config, data, network(teacher, data), CPU, ranks=ranks)
    assert built.teacher is not None
    built.teacher.module.eval()
    method = build_transfer(config.transfer.name, config.transfer.options, built.context, seed=2)
    share = None if ranks.size == 1 else BatchShare(ranks, method)
    recipe = OutputsRecipe(config, data, built.teacher, method, built.context, CPU)
    distiller = Distiller(
        built.student,
        built.teacher,
        method,
        groups=layer_groups(built.student.module, built.context.layers, SHAPE),
        sgd=SgdSettings(RATE, MOMENTUM, DECAY, nesterov=False),
        schedule=lambda _: 1.0,
        teacher_outputs=teacher_outputs(recipe, None, share) if method.uses_teacher else None,
        share=share,
    )

    def epoch() -> None:
        batches = training_batches(config, data, CPU, 1, ranks)
        directions = generator(1, "directions", 1)
        distiller.begin_epoch(1, batches, steps=steps, directions=directions, multipliers={}).run()

    return epoch


if __name__ == "__main__":
    given = sys.argv[1:] + ["9", "6"][len(sys.argv) - 1 :]
    main(int(given[0]), int(given[1]), *given[2:3])
