"""Schedules, by hand."""

from __future__ import annotations

import pytest

from kdstudy.training.schedule import schedule


def test_cosine_by_hand() -> None:
    factor = schedule("cosine", {}, 8)
    assert factor(0) == 1.0
    assert factor(4) == pytest.approx(0.5)
    assert factor(8) == pytest.approx(0.0)
    assert factor(2) == pytest.approx((1 + 2**-0.5) / 2)


def test_multistep_drops_at_each_milestone() -> None:
    factor = schedule("multistep", {"milestones": [150, 180, 210], "gamma": 0.1}, 240)
    assert [factor(epoch) for epoch in (0, 149.99, 150, 180, 239)] == pytest.approx([1, 1, 0.1, 0.01, 0.001])


def test_a_warm_up_rises_to_the_schedule_which_goes_on_as_without() -> None:
    warm, cold = (schedule("multistep", {"milestones": [3], "gamma": 0.1}, 8, warmup) for warmup in (2, 0))
    assert [warm(progress) for progress in (0, 0.5, 1, 1.5)] == pytest.approx([0.01, 0.2575, 0.505, 0.7525])
    assert [warm(progress) for progress in (2, 2.9, 3, 7)] == [cold(progress) for progress in (2, 2.9, 3, 7)]


def test_constant() -> None:
    assert {schedule("constant", {}, 3)(progress) for progress in (0, 1.5, 2.9)} == {1.0}
