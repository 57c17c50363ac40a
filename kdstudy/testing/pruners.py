"""What every pruner promises."""

from __future__ import annotations

import copy
import random
from typing import Any, ClassVar

from kdstudy.plugins import PRUNERS
from kdstudy.search import Pruner


class PrunerSuite:
    """Tests of one pruner; derive from it and set `plugin`.

    Attributes:
        plugin: Registered name, or ``package.module:Name``.
        options: Options the pruner is built with, where its defaults do not do.
    """

    plugin: str
    options: ClassVar[dict[str, Any]] = {}

    def make(self) -> Pruner:
        """Return the pruner."""
        pruner: Pruner = PRUNERS.load(self.plugin)(**self.options)
        return pruner

    def curves(self) -> list[dict[int, float]]:
        """Return validation scores by epoch of forty trials that rise, with noise, over twelve epochs."""
        draw = random.Random(7)
        return [{epoch: round(draw.random() / 2 + 0.04 * epoch, 2) for epoch in range(1, 13)} for _ in range(40)]

    def test_it_is_a_function_of_its_arguments_alone(self) -> None:
        """The same scores give the same decision, in any process, and are left as they are."""
        own, others = {1: 0.3, 2: 0.2, 3: 0.1}, self.curves()
        before = copy.deepcopy((own, others))
        decisions = {self.make().stops(own, others) for _ in range(3)}
        assert len(decisions) == 1
        assert (own, others) == before

    def test_a_trial_alone_in_its_arm_is_never_stopped(self) -> None:
        """There is nothing to compare it with."""
        for curve in self.curves():
            assert not any(self.make().stops({e: curve[e] for e in range(1, epoch + 1)}, []) for epoch in curve)

    def test_the_best_trial_of_all_is_never_stopped(self) -> None:
        """An arm must have a trial to confirm."""
        others, pruner = self.curves(), self.make()
        best = dict.fromkeys(range(1, 13), 1.0)
        assert not any(pruner.stops({e: best[e] for e in range(1, epoch + 1)}, others) for epoch in best)
