"""The ledger is written in the background: in order, and never past a failure."""

from __future__ import annotations

import threading
import time

import pytest

from kdstudy.runner.writer import Writer


def test_work_is_done_in_order_and_giving_it_does_not_wait() -> None:
    writer, back, done = Writer(), threading.Event(), list[int]()
    writer.put(lambda: back.wait(10) and None)  # a database that is away
    began = time.monotonic()
    for number in range(100):
        writer.put(lambda number=number: done.append(number))
    assert not writer.wait(0.05)
    assert time.monotonic() - began < 1
    assert done == []
    back.set()
    assert writer.wait(10)
    assert done == list(range(100))
    writer.close()


def test_after_a_failure_nothing_is_done_and_everybody_is_told() -> None:
    writer, done, back = Writer(), list[int](), threading.Event()

    def fail() -> None:
        back.wait(10)
        raise ValueError("gone for good")

    writer.put(lambda: done.append(1))
    writer.put(fail)
    writer.put(lambda: done.append(2))  # it was given before anybody knew
    back.set()
    assert writer.wait(10), "nothing is left to do"
    for give in (lambda: writer.put(lambda: done.append(3)), writer.raise_if_failed, writer.close):
        with pytest.raises(ValueError, match="gone for good"):
            give()
    assert done == [1]


def test_what_was_given_is_done_before_it_ends() -> None:
    writer, done = Writer(), list[int]()
    assert writer.wait(0), "there is nothing to wait for"
    writer.put(lambda: time.sleep(0.05))
    writer.put(lambda: done.append(1))
    writer.close()
    writer.close()
    assert done == [1]
