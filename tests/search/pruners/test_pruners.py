"""Pruners: pure rules, by hand and against Ray Tune's own schedulers."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule

from kdstudy.plugins import PRUNERS
from kdstudy.search.pruners import Pruner
from kdstudy.search.pruners.asha import AshaPruner
from kdstudy.search.pruners.median import MedianPruner
from kdstudy.search.pruners.patience import PatiencePruner

Curves = Sequence[Sequence[float]]


def curves(*trials: Sequence[float]) -> list[dict[int, float]]:
    return [dict(enumerate(scores, start=1)) for scores in trials]


def stops(pruner: Pruner, own: Sequence[float], *others: Sequence[float]) -> bool:
    return pruner.stops(curves(own)[0], curves(*others))


def test_asha_lets_the_upper_third_of_a_rung_pass() -> None:
    pruner = AshaPruner(grace=1, reduction=3)
    rung = ([0.1], [0.2], [0.3], [0.4])  # two thirds of the way from 0.1 to 0.4: 0.3
    assert stops(pruner, [0.29], *rung)
    assert not stops(pruner, [0.31], *rung)
    assert not stops(pruner, [0.0]), "the first to come to a rung passes"
    assert not stops(pruner, [0.9, 0.0], *([0.5, 0.5],) * 4), "epoch 2 is no rung"
    assert stops(pruner, [0.9, 0.9, 0.0], *([0.5, 0.5, 0.5],) * 4), "epoch 3 is"
    assert not stops(AshaPruner(grace=2, reduction=2), [0.0, 0.0, 0.0], *([0.5] * 3,) * 4), "rungs are 2, 4, 8"


def test_median_compares_the_best_with_averages_of_those_who_came_as_far() -> None:
    pruner = MedianPruner(grace=1, trials=3)
    others = ([0.2, 0.4, 0.9], [0.4, 0.6], [0.6, 0.8])  # averages up to epoch 2: 0.3, 0.5, 0.7
    assert stops(pruner, [0.49, 0.1], *others)
    assert not stops(pruner, [0.51, 0.1], *others), "its best counts, not its last"
    assert not stops(pruner, [0.1, 0.1], *others[:2]), "two are too few"
    assert not stops(pruner, [0.1, 0.1, 0.1], *others), "only one has come to epoch 3"
    assert stops(MedianPruner(grace=2, trials=3), [0.59, 0.59], *others), "without epoch 1 the median is 0.6"
    assert not stops(MedianPruner(grace=2, trials=1), [0.0], [0.9])


def test_patience_waits_and_spares_the_leader() -> None:
    pruner = PatiencePruner(epochs=2, gain=0.01)
    assert not stops(pruner, [0.5, 0.5], [0.9])
    assert stops(pruner, [0.5, 0.5, 0.505], [0.9]), "0.005 is no improvement"
    assert not stops(pruner, [0.5, 0.5, 0.52], [0.9])
    assert not stops(pruner, [0.5, 0.5, 0.5], [0.4, 0.4, 0.5])
    assert not stops(pruner, [0.5, 0.5, 0.5]), "alone it leads"
    assert stops(PatiencePruner(epochs=1), [0.5, 0.4], [0.6])


def asynchronous(seed: int, trials: int = 40, epochs: int = 12, slots: int = 4) -> tuple[Curves, list[int]]:
    """Curves with ties, and the order in which running trials report."""
    draw = random.Random(seed)
    scores = [[round(draw.random() * 0.5 + 0.04 * epoch, 2) for epoch in range(epochs)] for _ in range(trials)]
    return scores, [draw.randrange(slots) for _ in range(trials * epochs)]


def drive(decide: Any, scores: Curves, order: Sequence[int]) -> dict[int, int]:
    """Run the trials a few at once; return the epoch at which each was stopped."""
    waiting, running, at, ended = list(range(len(scores))), [], {}, {}
    for pick in order:
        while len(running) < 4 and waiting:
            running.append(waiting.pop(0))
        if not running:
            break
        number = running[pick % len(running)]
        at[number] = epoch = at.get(number, 0) + 1
        last = epoch == len(scores[number])
        if decide(number, epoch, scores[number][epoch - 1], last):
            ended[number] = epoch
        if last or number in ended:
            running.remove(number)
    return ended


def ours(pruner: Pruner) -> Any:
    known: dict[int, dict[int, float]] = {}

    def decide(number: int, epoch: int, score: float, last: bool) -> bool:
        known.setdefault(number, {})[epoch] = score
        return not last and pruner.stops(known[number], [known[other] for other in known if other != number])

    return decide


def rays(scheduler: Any) -> Any:
    trials: dict[int, Any] = {}

    class Trial(SimpleNamespace):
        __hash__ = object.__hash__

    def decide(number: int, epoch: int, score: float, last: bool) -> bool:
        if number not in trials:
            trials[number] = Trial(trial_id=str(number))
            scheduler.on_trial_add(None, trials[number])
        decision = scheduler.on_trial_result(None, trials[number], {"epoch": epoch, "val": score})
        return not last and decision == "STOP"

    return decide


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("grace", "second"), [(1, 2), (1, 3), (2, 3), (3, 2)])
def test_decisions_are_those_of_ray_tune(seed: int, grace: int, second: int) -> None:
    scores, order = asynchronous(seed)
    common: dict[str, Any] = {"time_attr": "epoch", "metric": "val", "mode": "max", "grace_period": grace}
    asha = AsyncHyperBandScheduler(**common, reduction_factor=second, max_t=13)
    stopped = drive(ours(AshaPruner(grace=grace, reduction=second)), scores, order)
    assert stopped == drive(rays(asha), scores, order)
    assert len(set(stopped.values())) > 1, "at several rungs"
    # With fewer samples than it wants, Ray's rule pauses trials after a time slice, which ours does not.
    endless: Any = math.inf
    median = MedianStoppingRule(**common, min_samples_required=second, min_time_slice=endless)
    stopped = drive(ours(MedianPruner(grace=grace, trials=second)), scores, order)
    assert stopped == drive(rays(median), scores, order)
    assert len(stopped) > 3


@pytest.mark.parametrize("name", list(PRUNERS))
def test_every_pruner_is_pure_and_lets_a_lone_trial_end(name: str) -> None:
    scores, order = asynchronous(7)
    known = [dict(enumerate(curve[: 1 + index % 5], start=1)) for index, curve in enumerate(scores)]
    own = {1: 0.3, 2: 0.2, 3: 0.1}
    before = copy.deepcopy((own, known))
    verdicts = {PRUNERS.load(name)().stops(own, known[:cut]) for cut in [len(known)] * 3}
    assert len(verdicts) == 1 and (own, known) == before
    assert drive(ours(PRUNERS.load(name)()), scores[:1], order) == {}
    ended = drive(ours(PRUNERS.load(name)()), scores, order)
    assert len(ended) < len(scores), "some trial comes to its end, to be confirmed"
    assert bool(ended) == (name != "none")
