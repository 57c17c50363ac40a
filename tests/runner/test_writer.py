"""The ledger is written in the background: in order, and never past a failure."""

from __future__ import annotations

import threading
import time

import pytest

from kdstudy.runner.writer import Scribe


def test_work_is_done_in_order_and_giving_it_does_not_wait() -> None:
    scribe, back, done = Scribe(), threading.Event(), list[int]()
    scribe.put(lambda: back.wait(10) and None)  # a database that is away
    began = time.monotonic()
    for number in range(100):
        scribe.put(lambda number=number: done.append(number))
    assert time.monotonic() - began < 1
    assert done == []
    back.set()
    scribe.close()
    assert done == list(range(100))


def test_after_a_failure_nothing_is_done_and_everybody_is_told() -> None:
    scribe, done = Scribe(), list[int]()

    def fail() -> None:
        raise ValueError("gone for good")

    scribe.put(lambda: done.append(1))
    scribe.put(fail)
    with pytest.raises(ValueError, match="gone for good"):
        for number in range(1000):
            scribe.put(lambda number=number: done.append(number))
            time.sleep(0.01)
    assert done == [1]
    with pytest.raises(ValueError, match="gone for good"):
        scribe.complain()
    with pytest.raises(ValueError, match="gone for good"):
        scribe.close()
