"""What is tried again, how often and how long; what is not."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from kdstudy.storage.retry import retry, wait_until


def failing(times: int, error: type[Exception] = ConnectionError) -> Callable[[], int]:
    """Work that fails so many times, then says at which attempt it succeeded."""
    attempts = iter(range(1, 1000))

    def work() -> int:
        attempt = next(attempts)
        if attempt <= times:
            raise error(f"attempt {attempt}")
        return attempt

    return work


def passing(error: Exception) -> bool:
    return isinstance(error, ConnectionError)


def test_what_may_pass_is_tried_again_and_what_may_not_is_raised_at_once() -> None:
    assert retry(failing(3), passing, seconds=lambda: 10.0, first=0.001, longest=0.002) == 4
    with pytest.raises(ValueError, match="attempt 1"):
        retry(failing(3, ValueError), passing, seconds=lambda: 10.0, first=0.001, longest=0.002)


def test_a_pause_that_would_end_too_late_is_not_begun() -> None:
    began = time.monotonic()
    with pytest.raises(ConnectionError, match="attempt 1"):
        retry(failing(9), passing, seconds=lambda: 5.0, first=60.0, longest=60.0)
    assert time.monotonic() - began < 5.0


def test_the_limit_may_shrink_while_it_is_waited() -> None:
    limits = iter([60.0, 60.0, 0.0])
    with pytest.raises(ConnectionError, match="attempt 3"):
        retry(failing(9), passing, seconds=lambda: next(limits), first=0.001, longest=0.001)


def test_pauses_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    retry(failing(5), passing, seconds=lambda: 1000.0, first=1.0, longest=4.0)
    assert all(0.5 * full <= pause <= full for pause, full in zip(pauses, [1, 2, 4, 4, 4], strict=True))


def test_a_retry_leaves_the_global_generator_as_it_is() -> None:
    before = random.getstate()
    retry(failing(2), passing, seconds=lambda: 10.0, first=0.001, longest=0.001)
    assert random.getstate() == before


def test_a_condition_is_asked_at_once_and_until_it_is_true_or_the_time_is_up() -> None:
    answers = iter([0, 0, 7])
    assert wait_until(lambda: next(answers), seconds=10.0, every=0.001) == 7
    assert wait_until(lambda: 5, seconds=0.0) == 5
    assert wait_until(lambda: 0, seconds=0.0) == 0
