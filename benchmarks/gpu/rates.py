"""What the device can do at all: matrix products and copies; and what a step asks of it, in the same units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.job import Job

KINDS = {"float32": (torch.float32, False), "tf32": (torch.float32, True), "bfloat16": (torch.bfloat16, False)}


def run(job: Job) -> None:
    """Measure 2 n^3 operations of a product of n x n matrices, and bytes read and written of a copy."""
    for name, (dtype, tf32) in KINDS.items():
        job.measure(name, lambda dtype=dtype, tf32=tf32: {"TFLOPS": product(job, dtype, tf32=tf32)})
    job.measure("copy", lambda: {"GB/s": copy(job)})


def product(job: Job, dtype: torch.dtype, *, tf32: bool) -> float:
    """Return 1e12 operations a second."""
    size = 512 if job.small else 8192
    before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, tf32
    try:
        a, b = (torch.randn(size, size, device=job.device, dtype=dtype) for _ in range(2))
        return 2 * size**3 / best(job, lambda: a @ b) / 1e12
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def copy(job: Job) -> float:
    """Return 1e9 bytes a second, read and written."""
    source = torch.zeros(2**24 if job.small else 2**30, dtype=torch.uint8, device=job.device)
    target = torch.empty_like(source)
    return 2 * source.numel() / best(job, lambda: target.copy_(source)) / 1e9


def best(job: Job, what: Callable[[], object], rounds: int = 5, calls: int = 5) -> float:
    """Return the seconds of a call: the shortest of some rounds of several calls, after one that is not counted."""
    seconds = []
    for _ in range(rounds + 1):
        began = job.wait()
        for _ in range(calls):
            what()
        seconds.append((job.wait() - began) / calls)
    return min(seconds[1:])


class Traffic(TorchDispatchMode):
    """Adds up the bytes that operations read and write, each counted as often as an operation asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        places = {each.untyped_storage().data_ptr() for each in given}
        fresh = [each for each in tree_leaves(made) if isinstance(each, Tensor)]
        if any(each.untyped_storage().data_ptr() not in places for each in fresh) or func._schema.is_mutable:
            self.bytes += sum(each.numel() * each.element_size() for each in (*given, *fresh))
        return made


def asked(step: Callable[[], object]) -> tuple[float, float]:
    """Return the floating-point operations (two a multiply-add) and the bytes of a step."""
    with FlopCounterMode(display=False) as flops:
        step()
    with Traffic() as traffic:
        step()
    return float(flops.get_total_flops()), float(traffic.bytes)
