"""Try again what may succeed later, and wait for what may come true.

Used by whatever talks to a server: the ledger, a bucket, MLflow's UI, the cluster. tenacity could do the same, with a
stop rule of ours for the ledger's limit, which shrinks at shutdown; nothing that is installed depends on it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_JITTER = random.Random()  # its own: a retry must not move the global generator, on which a trial's numbers may depend


def retry(
    work: Callable[[], T],
    passing: Callable[[Exception], bool],
    *,
    seconds: Callable[[], float],
    first: float,
    longest: float,
) -> T:
    """Return what ``work`` returns, calling it again after each error that may pass.

    Args:
        work: May run several times.
        passing: Whether an error may be gone at the next attempt.
        seconds: How long, from the first call on, a new attempt is still made; asked after each error.
        first: Seconds before the second attempt; doubled for each one after. The pause is 50 to 100 % of that.
        longest: Seconds that the pause grows to at most.

    Raises:
        Exception: The last error, if it does not pass or the time is up.
    """
    began, pause = time.monotonic(), first
    while True:
        try:
            return work()
        except Exception as error:
            if not passing(error) or time.monotonic() + pause > began + seconds():
                raise
        time.sleep(pause * _JITTER.uniform(0.5, 1.0))
        pause = min(2 * pause, longest)


def wait_until(condition: Callable[[], T], *, seconds: float, every: float = 0.5) -> T:
    """Return what ``condition`` returns as soon as that is true; what it last returned when the time is up.

    Args:
        condition: Asked at once, then again and again.
        seconds: Longer is not waited.
        every: Seconds between two questions.
    """
    deadline = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(every)
    return answer
