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


def test_constant() -> None:
    assert {schedule("constant", {}, 3)(progress) for progress in (0, 1.5, 2.9)} == {1.0}
