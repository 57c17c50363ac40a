"""CPU, memory and GPU usage of this machine, for the live table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Usage:
    """One measurement of this machine; shares are in [0, 1].

    Args:
        cpu: Share of all CPUs in use since the last measurement.
        memory: Share of memory in use.
        gpus: Share of time each GPU was busy, and of its memory in use; empty without a GPU.
    """

    cpu: float
    memory: float
    gpus: tuple[tuple[float, float], ...] = ()

    def text(self) -> str:
        """Return one line for people."""
        parts = [f"CPU {self.cpu:.0%}", f"memory {self.memory:.0%}"]
        parts += [f"GPU {number} {busy:.0%}, memory {held:.0%}" for number, (busy, held) in enumerate(self.gpus)]
        return " | ".join(parts)


def usage() -> Usage:
    """Measure this machine. The first measurement of a process gives 0 for the CPUs."""
    import psutil

    return Usage(psutil.cpu_percent() / 100, psutil.virtual_memory().percent / 100, _gpus())


def _gpus() -> tuple[tuple[float, float], ...]:
    if not _has_driver():
        return ()
    import pynvml

    found = []
    for number in range(pynvml.nvmlDeviceGetCount()):
        device = pynvml.nvmlDeviceGetHandleByIndex(number)
        memory = pynvml.nvmlDeviceGetMemoryInfo(device)
        found.append((pynvml.nvmlDeviceGetUtilizationRates(device).gpu / 100, memory.used / memory.total))
    return tuple(found)


@cache
def _has_driver() -> bool:
    """Open NVIDIA's library, once, and return whether that succeeded."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True
