"""In a worker: notice that its process or its node is about to be taken away, and leave at a safe point.

A safe point is the end of an epoch: the checkpoint is in the store and the driver has the record. Ray then starts the
trial again elsewhere, from there. Where the node is draining, Tune does not count it as a failure.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from kdstudy.cluster.nodes import draining

_notice = threading.Event()
_busy = threading.Event()


def listen() -> None:
    """Take SIGTERM as notice: the process ends at its next safe point, at once if it has no trial. Main thread only."""

    def note(_signal: int, _frame: object) -> None:
        _notice.set()
        if not _busy.is_set():
            sys.exit(1)

    signal.signal(signal.SIGTERM, note)


def safe_point(*, more: bool) -> None:
    """End the process if it has been given notice, or its node has.

    Args:
        more: Whether the trial goes on after this point.
    """
    import ray

    _busy.set() if more else _busy.clear()
    if _notice.is_set() or ray.get_runtime_context().get_node_id() in draining():
        os._exit(1)  # the trial runs in a thread of its own, which could end nothing but itself
