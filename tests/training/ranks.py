"""Two ranks in processes of their own, as a trial has them: `together` runs a function of a test in each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from kdstudy.training import Ranks, joined


def together(work: Callable[..., Any], folder: Path, *arguments: Any, size: int = 2) -> list[Any]:
    """Return what ``work`` returns on each rank, called with its `Ranks` and the arguments."""
    folder.mkdir(exist_ok=True)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_run, args=(work, folder, rank, size, arguments)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * size
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


def _run(work: Callable[..., Any], folder: Path, rank: int, size: int, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    store = distributed.FileStore(str(folder / "store"), size)
    with joined(store, rank, size, torch.device("cpu")) as ranks:
        found = work(ranks, *arguments)
    torch.save(found, folder / f"{rank}.pt")


__all__ = ["Ranks", "together"]
