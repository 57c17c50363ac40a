"""The numerics of a trial: device, deterministic kernels, precision of student and teacher."""

from __future__ import annotations

import contextlib
import copy
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from kdstudy.errors import ClusterError
from kdstudy.models import FeatureExtractor, Layout, Memory, compiled
from kdstudy.settings import scoped_environment
from kdstudy.study import NumericsConfig
from kdstudy.training.bn_folding import fold


def choose_device(gpus: float) -> torch.device:
    """Return the training device; of a GPU this process is held to its share of the memory, until it is chosen again.

    torch's allocator is held to it: what CUDA itself keeps for a process comes on top.

    Args:
        gpus: GPUs asked for, a fraction allowed; 0 trains on the CPU.

    Raises:
        ClusterError: A GPU is asked for and none is visible.
    """
    if gpus <= 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ClusterError(
            f"resources.gpus: {gpus} asked for, but no CUDA device is visible here; set gpus: 0 or run on a GPU node"
        )
    torch.cuda.set_per_process_memory_fraction(min(gpus, 1.0))
    return torch.device("cuda")


def require_room(gpus: float, needed: int, free: int, total: int) -> None:
    """Refuse data that this process's share of a GPU cannot hold, before they are copied there.

    Args:
        gpus: The share, > 0.
        needed: Bytes of the training images and labels; the networks come on top.
        free: Bytes of the GPU that nobody holds.
        total: All of them.

    Raises:
        ClusterError: They do not fit.
    """
    share = min(gpus, 1.0) * total
    if needed <= min(share, free):
        return
    have = f"{share / 1e9:.1f} GB" + (f", of which {free / 1e9:.1f} GB are free" if free < share else "")
    raise ClusterError(
        f"resources.gpus: {gpus:g} of this GPU's memory is {have}, and the training images alone take "
        f"{needed / 1e9:.1f} GB there; ask for a larger share, or run fewer trials side by side"
    )


def student_network(
    module: nn.Module, layers: Sequence[str], numerics: NumericsConfig, layouts: Mapping[str, Layout] | None = None
) -> FeatureExtractor:
    """Return the student in the arithmetic asked for; ``module`` itself is trained. See `teacher_network`."""
    if numerics.memory_format == "channels_last":
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    on_gpu = any(parameter.is_cuda for parameter in module.parameters())
    program = compiled(module) if numerics.graph == "on" or (numerics.graph == "auto" and on_gpu) else None
    precision = torch.bfloat16 if numerics.student == "bfloat16" else None
    return FeatureExtractor(module, layers, precision, layouts=layouts, program=program)


def teacher_network(
    module: nn.Module,
    layers: Sequence[str],
    numerics: NumericsConfig,
    image_shape: tuple[int, int, int],
    memory: Memory | None = None,
    layouts: Mapping[str, Layout] | None = None,
) -> FeatureExtractor:
    """Return the teacher in the arithmetic asked for: ``module`` itself, or where weights change a copy of it.

    Args:
        module: Left as it is.
        layers: Whose outputs are recorded.
        numerics: The arithmetic.
        image_shape: (C, H, W).
        memory: As for `FeatureExtractor`.
        layouts: Likewise.

    Raises:
        ModelError: It is to be folded and cannot be.
    """
    if numerics.teacher != "float32":
        module = fold(module, layers, image_shape)
    if numerics.memory_format == "channels_last":
        module = copy.deepcopy(module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = torch.bfloat16 if numerics.teacher == "bfloat16" else None
    return FeatureExtractor(module, layers, precision, memory, layouts)


@contextmanager
def fixed_numerics(threads: int, *, deterministic: bool = True) -> Iterator[None]:
    """Hold the settings that a trial's numbers depend on; restore them all afterwards.

    One thread count per trial (a different count changes sums by about 1e-5), and float32 in full. On CUDA kernels that
    repeat themselves, unless faster ones are asked for.

    Args:
        threads: CPU threads of the trial, at least 1.
        deterministic: Whether a rerun on the same kind of machine is to be bitwise equal; False has cuDNN try its
            kernels out and take the fastest, on CUDA alone.
    """
    before, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    was = {"mode": torch.are_deterministic_algorithms_enabled()}
    was["warn_only"] = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = not deterministic
    if torch.cuda.is_available():
        torch.use_deterministic_algorithms(deterministic)
    try:
        with scoped_environment({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if deterministic else {}), _full_float32():
            yield
    finally:
        torch.set_num_threads(before)
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(**was)


@contextmanager
def _full_float32() -> Iterator[None]:
    """Have float32 multiplied as float32, on CPU and CUDA, in whichever of torch's two ways less was allowed."""
    backends: Any = torch.backends
    units = [getattr(owner, name) for owner in (backends.cudnn, backends.mkldnn) for name in ("conv", "rnn")]
    units += [backends.cuda.matmul, backends.mkldnn.matmul]
    before, older = [unit.fp32_precision for unit in units], None
    with contextlib.suppress(RuntimeError):  # where the two ways contradict each other
        older = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.allow_tf32 = False
    for unit in units:
        unit.fp32_precision = "ieee"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(older or "highest")
        backends.cudnn.allow_tf32 = before[0] == "tf32"
        for unit, precision in zip(units, before, strict=True):
            unit.fp32_precision = precision


def describe_numerics(device: torch.device) -> dict[str, Any]:
    """Return the fields that decide whether two runs can be bitwise equal."""
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": bool(torch.backends.mkldnn.enabled),
        "machine": platform.machine(),
    }
