"""How much faster two ranks of one CPU core take a step than one process on one: gloo, one thread each.

An epoch by one process, one by two ranks, and one by two processes that each train on half of every batch and know
nothing of each other, run in turn, in reversed order every other round. The last says what the machine's two cores
give: less than twice where they share memory, more where half a batch fits the caches better. Times are by the clock,
which holds on a quiet machine alone; beside them is CPU time, one process's over the busier rank's, which hardly
depends on neighbours, but leaves out what the ranks wait for each other.

    python benchmarks/ranks.py [ROUNDS [STEPS [METHOD [BATCH]]]]
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from timing import ratio, table, where
from torch._C._distributed_c10d import FileStore
from trainers import BATCH, CPU, DECAY, MOMENTUM, RATE, SHAPE, STUDY, network, noise

from kdstudy.layerwise import layer_groups
from kdstudy.study import parse_study
from kdstudy.training import ALONE, BatchShare, Distiller, OptimizerSettings, Ranks, fixed_numerics, generator, joined
from kdstudy.trial import OutputsRecipe, build_transfer, networks, teacher_outputs, training_batches
from kdstudy.trial.rank_processes import LocalRanks, networked

CASES = (
    ("resnet20", "resnet20", "none"),
    ("resnet20", "resnet56", "kd"),
    ("resnet8x4", "resnet32x4", "attention"),
    ("resnet8x4", "resnet32x4", "jacobian"),
    ("resnet8x4", "resnet32x4", "sp"),
)


def main(rounds: int, steps: int, method: str | None = None, batch: int = BATCH) -> None:
    """Print the table."""
    print(where(), f"{rounds} rounds of {steps} steps of {batch} images", flush=True)
    rows = []
    for case in (case for case in CASES if method in (None, case[2])):
        rows.append(row(case, rounds, steps, batch))
        print(rows[-1], flush=True)
    titles = ["student <- teacher", "method", "times as fast", "two apart", "by CPU time", "s a step, one"]
    print(table(titles, rows))


class Team:
    """Processes that run an epoch at the same time.

    Args:
        case: Of `CASES`.
        steps: Of an epoch.
        batches: Images in a step of each process's epoch.
        together: Whether they are ranks, which share every batch.
    """

    def __init__(self, case: tuple[str, str, str], steps: int, batches: Sequence[int], *, together: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory()
        self._pipes = []
        size = len(batches) if together else 1
        for number, batch in enumerate(batches):
            pipe, end = context.Pipe()
            arguments = (end, case, steps, batch, number if together else 0, size, self._folder.name)
            context.Process(target=work, args=arguments, daemon=True).start()
            self._pipes.append(pipe)
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def run(self) -> None:
        """Run an epoch; keep its seconds by the clock, and the CPU's of the busiest process."""
        began = time.perf_counter()
        for pipe in self._pipes:
            pipe.send(True)
        self.cpu.append(max(pipe.recv() for pipe in self._pipes))
        self.wall.append(time.perf_counter() - began)

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.send(False)
        self._folder.cleanup()


def row(case: tuple[str, str, str], rounds: int, steps: int, batch: int) -> list[str]:
    """Return one line of the table."""
    teams = {
        "one": Team(case, steps, [batch], together=False),
        "ranks": Team(case, steps, [batch] * 2, together=True),
        "apart": Team(case, steps, [batch // 2] * 2, together=False),
    }
    for number in range(rounds + 1):
        for team in teams.values() if number % 2 else reversed(teams.values()):
            team.run()
    for team in teams.values():
        team.close()
    wall = {name: team.wall[1:] for name, team in teams.items()}
    cpu = {name: team.cpu[1:] for name, team in teams.items()}
    student, teacher, method = case
    found = ratio(wall, "one", "ranks"), ratio(wall, "one", "apart"), ratio(cpu, "one", "ranks")
    return [f"{student} <- {teacher}", method, *found, f"{min(wall['one']) / steps:.3f}"]


def work(
    pipe: Connection, case: tuple[str, str, str], steps: int, batch: int, rank: int, size: int, folder: str
) -> None:
    """Run an epoch whenever told to, and tell its CPU seconds."""
    with fixed_numerics(1):
        if size == 1:
            serve(pipe, epoch_of(case, steps, batch, ALONE))
            return
        store = FileStore(str(Path(folder) / "store"), size)
        with networked(LocalRanks.interface), joined(store, rank, size, CPU) as ranks:
            serve(pipe, epoch_of(case, steps, batch, ranks))


def serve(pipe: Connection, epoch: Any) -> None:
    """Answer until told to stop."""
    while pipe.recv():
        began = time.process_time()
        epoch()
        pipe.send(time.process_time() - began)


def epoch_of(case: tuple[str, str, str], steps: int, batch: int, ranks: Ranks) -> Any:
    """Return what runs an epoch on one of the ranks."""
    student, teacher, transfer = case
    data = noise(-(-steps * batch // BATCH))
    data = replace(data, train=data.train.take(torch.arange(steps * batch)))
    text = STUDY.format(teacher=teacher, student=student, transfer=transfer, cache="off", numerics="{}")
    study = parse_study(text)
    config = study.config(study.arms[0].name, {}, data_seed=1, init_seed=2)
    config = replace(config, train=replace(config.train, batch_size=batch))
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
        optimizer=OptimizerSettings(RATE, MOMENTUM, DECAY, nesterov=False),
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
    main(int(given[0]), int(given[1]), *given[2:3], *map(int, given[3:4]))
