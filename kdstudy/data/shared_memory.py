"""Whether what the decoding processes hand over fits in shared memory, which containers have little of."""

from __future__ import annotations

import shutil
from pathlib import Path

PREFETCH = 2
"""Batches that each process decodes ahead."""
SHARED = Path("/dev/shm")  # noqa: S108 - not a temporary file: where Linux keeps shared memory


def free_bytes() -> int | None:
    """Return how much shared memory is free here; None where it is not a file system of its own."""
    try:
        return shutil.disk_usage(SHARED).free
    except OSError:
        return None


def workers_that_fit(workers: int, batch_bytes: int) -> int:
    """Return how many of so many processes can hand over their batches: 0 to decode without any.

    Each holds `PREFETCH` batches and works at another; one more is in use. What does not fit is lost without an error,
    and whoever waits for it waits for ever.

    Args:
        workers: Wanted, >= 0.
        batch_bytes: Of the largest batch, >= 0.
    """
    free = free_bytes()
    if free is None or batch_bytes == 0:
        return workers
    return max(0, min(workers, (free // batch_bytes - 1) // (PREFETCH + 1)))


def shortage(workers: int, batch_bytes: int) -> str | None:
    """Return a line about what does not fit, and what is done about it; None where all does.

    Args:
        workers: As for `workers_that_fit`, like the rest.
        batch_bytes: Likewise.
    """
    fitting, free = workers_that_fit(workers, batch_bytes), free_bytes()
    if fitting == workers or free is None:
        return None
    done = (
        f"{fitting} of {workers} processes decode" if fitting else "images are decoded without processes of their own"
    )
    return (
        f"data: {SHARED} has {free / 1e6:.0f} MB free, too little for batches of {batch_bytes / 1e6:.1f} MB; {done}, "
        "which is slower; give it more (docker run --shm-size=1g), or raise data.options.memory_gb"
    )
