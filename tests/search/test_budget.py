"""What an arm's search may cost, in numbers worked out by hand."""

from __future__ import annotations

import pytest

from kdstudy.ledger import Running, TrialRecord
from kdstudy.search.budget import MAX_FAILURES, CountBudget, TimeBudget, budget_of
from kdstudy.study import ArmId, parse_study
from tests.configs import TEXT
from tests.stages import START, ended


def trials(*seconds: float | None, state: str = "completed") -> list[TrialRecord]:
    """One arm's trials: None is one in flight."""
    return [
        TrialRecord(
            *("s-00000000", index, "search", ArmId("a", "constant"), index, 0, 0),
            stage=Running(START) if each is None else ended(state, seconds=each),
        )
        for index, each in enumerate(seconds)
    ]


def test_a_count_is_known_from_the_start_and_over_once_all_have_ended() -> None:
    budget = CountBudget(3)
    assert [budget.may_start(trials(*[1.0] * n)) for n in range(5)] == [True, True, True, False, False]
    assert (budget.expected([]), budget.remaining(trials(1.0, None)), budget.numbers([[], []])) == (3, 1, 3)
    assert not budget.is_over(trials(1.0, 1.0, None))
    assert budget.is_over(trials(1.0, 1.0, 1.0))
    assert (budget.last(2), budget.last(7)) == (2, 3)


def test_time_is_used_up_by_trials_in_flight_at_the_mean_price_of_the_others() -> None:
    budget = TimeBudget(100.0)
    assert budget.may_start(trials(None, None, None)), "before the first price is known"
    assert budget.may_start(trials(20.0, 30.0, None)), "3 at 25 s are 75 s"
    assert not budget.may_start(trials(20.0, 30.0, None, None)), "4 at 25 s are all of it"
    assert not budget.is_over(trials(20.0, 30.0, None, None)), "they may turn out cheap"
    assert budget.may_start(trials(20.0, 30.0, 10.0, 10.0)), "and were: 70 s"
    assert budget.is_over(trials(60.0, 60.0))


def test_what_time_comes_to_is_told_from_the_mean_price() -> None:
    budget = TimeBudget(100.0)
    assert (budget.expected([]), budget.remaining([])) == (1, 1)
    assert (budget.expected(trials(30.0)), budget.remaining(trials(30.0))) == (4, 3)
    assert (budget.expected(trials(60.0, 60.0)), budget.remaining(trials(60.0, 60.0))) == (2, 0)
    assert budget.numbers([trials(60.0, 60.0), trials(30.0)]) is None, "the second arm's is still running"
    assert budget.numbers([trials(60.0, 60.0), trials(120.0)]) == 2
    assert budget.last(7) == 7


def test_failures_that_take_no_time_end_a_search() -> None:
    budget = TimeBudget(100.0)
    assert budget.may_start(trials(*[0.0] * (MAX_FAILURES - 1), state="failed"))
    assert not budget.may_start(trials(*[0.0] * MAX_FAILURES, state="failed"))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("trials_per_arm: 4", CountBudget(4)),
        ("budget: {trials: 4}", CountBudget(2)),  # of both arms together
        ("budget: {hours: 2}", TimeBudget(3600.0)),
    ],
)
def test_arms_share_a_budget_equally(written: str, expected: CountBudget | TimeBudget) -> None:
    text = TEXT.format(transfer="none", policy="constant, layerwise: {interval: 1}", epochs=2, base_lr=0.1)
    text = text.replace("[constant, layerwise: {interval: 1}]", "[constant, {layerwise: {interval: 1}}]")
    assert budget_of(parse_study(text.replace("trials_per_arm: 1", written), "two.yaml")) == expected


def test_hours_of_a_gpu_that_trials_share_are_more_of_theirs() -> None:
    text = TEXT.format(transfer="none", policy="constant", epochs=1, base_lr=0.1)
    text = text.replace("trials_per_arm: 1", "budget: {gpu_hours: 1}") + "resources: {gpus: 0.5}\n"
    assert budget_of(parse_study(text, "half.yaml")) == TimeBudget(7200.0)
