"""What a study will cost and see, by hand: levels, scipy's noncentral t, and an earlier record."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import optimize, stats

from kdstudy.analysis import detectable, forecast_like, forecast_of, searches_needed
from kdstudy.analysis.forecast import sd_of
from kdstudy.analysis.looks import nominal_level
from kdstudy.errors import RecordError
from kdstudy.ledger import Ledger
from kdstudy.study import Study, parse_study
from tests.confirmed import record

TEXT = """
name: planned
data: {name: digits}
teacher: {model: resnet8, epochs: 1}
student: {model: resnet8}
train: {epochs: {int: [4, 6]}, batch_size: 32, base_lr: {log: [0.01, 0.1]}}
arms: {transfers: [attention, none], policies: [constant, {layerwise: {interval: 1}}, decay]}
search: {trials_per_arm: 10}
confirm: {searches: 5, seeds: 2}
"""


def planned(confirm: str = "searches: 5, seeds: 2", search: str = "trials_per_arm: 10") -> Study:
    text = TEXT.replace("searches: 5, seeds: 2", confirm).replace("trials_per_arm: 10", search)
    return parse_study(text, "planned.yaml")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An earlier study of three searches whose d_r have sd 0.01 and 0.02, at 3 s an epoch."""
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        arms = {
            "attention/constant": [(0.5,)] * 3,
            "attention/layerwise": [(0.51,), (0.52,), (0.53,)],
            "attention/decay": [(0.52,), (0.54,), (0.56,)],
        }
        record(opened, arms)
        yield opened


def test_four_comparisons_are_tested_at_a_quarter_of_the_level() -> None:
    forecast = forecast_of(planned(), 0.01)
    assert (forecast.comparisons, forecast.sd) == (4, 0.01)

    def lack(difference: float) -> float:
        critical, noncentrality = stats.t.isf(0.0125 / 2, 4), difference / 0.01 * math.sqrt(5)
        return stats.nct.sf(critical, 4, noncentrality) + stats.nct.cdf(-critical, 4, noncentrality) - 0.8

    assert forecast.detectable == pytest.approx(optimize.brentq(lack, 0.001, 0.03), rel=1e-4)
    assert forecast.detectable == detectable(5, 0.01, 0.05 / 4)
    assert (forecast.smallest, forecast.searches_needed, forecast.epoch, forecast.hours) == (None,) * 4


def test_what_would_matter_takes_so_many_searches() -> None:
    forecast = forecast_of(planned("searches: 5, seeds: 2, smallest: 0.5"), 0.01)
    assert forecast.smallest == 0.005
    assert forecast.searches_needed == searches_needed(0.005, 0.01, 0.05 / 4)
    assert forecast.searches_needed is not None and forecast.searches_needed > 34, (
        "34 at 5 %: tests/.../test_planning.py"
    )


def test_looks_that_are_declared_cost_power() -> None:
    many = forecast_of(planned("searches: 5, seeds: 2, at_most: 12"), 0.01)
    assert many.detectable == detectable(5, 0.01, nominal_level(0.05 / 4, 5, 12))
    assert (many.detectable or 0) > (forecast_of(planned(), 0.01).detectable or 0)


def test_the_study_s_own_comparisons_are_counted() -> None:
    pairs = "comparisons: [[attention/layerwise, attention/constant]]"
    one = forecast_of(planned(f"searches: 5, seeds: 2, {pairs}"), 0.01)
    assert (one.comparisons, one.detectable) == (1, detectable(5, 0.01, 0.05))


@pytest.mark.parametrize("searches", [1, 2])
def test_too_few_searches_see_nothing_but_may_be_told_how_many_would(searches: int) -> None:
    forecast = forecast_of(planned(f"searches: {searches}, seeds: 2, smallest: 2"), 0.01)
    assert forecast.detectable is None
    assert forecast.searches_needed == searches_needed(0.02, 0.01, 0.05 / 4)


def test_a_study_of_one_policy_has_nothing_to_see() -> None:
    text = TEXT.replace("policies: [constant, {layerwise: {interval: 1}}, decay]", "policies: [constant]")
    forecast = forecast_of(parse_study(text, "planned.yaml"), 0.01)
    assert (forecast.comparisons, forecast.detectable, forecast.searches_needed) == (0, None, None)


def test_an_earlier_study_tells_sd_and_time(ledger: Ledger) -> None:
    assert sd_of(ledger, "latest") == pytest.approx(math.sqrt((0.01**2 + 0.02**2) / 2))
    study = planned()
    forecast = forecast_like(study, ledger, "digits")
    assert forecast.sd == sd_of(ledger, "latest")
    assert forecast.epoch == 3.0
    # 6 arms, 5 times, 10 trials of search and 2 seeds, of at most 6 epochs of 3 s.
    assert forecast.hours == pytest.approx(6 * 5 * (10 + 2) * 6 * 3 / 3600)
    assert replace(forecast, epoch=None, hours=None) == forecast_of(study, forecast.sd)
    assert forecast.to_json() == {
        "comparisons": 4,
        "sd": forecast.sd,
        "detectable": forecast.detectable,
        "smallest": None,
        "searches_needed": None,
        "seconds_per_epoch": 3.0,
        "hours": forecast.hours,
    }


def test_an_sd_that_is_given_goes_before_the_record_s(ledger: Ledger) -> None:
    assert forecast_like(planned(), ledger, "latest", sd=0.03).sd == 0.03
    hours = forecast_like(planned(search="budget: {hours: 2}"), ledger, "latest")
    assert (hours.epoch, hours.hours) == (3.0, None), "the budget says it"


def test_a_study_that_tells_no_spread_tells_its_times(ledger: Ledger) -> None:
    two = {"attention/constant": [(0.5,)] * 2, "attention/layerwise": [(0.51,), (0.52,)]}
    record(ledger, two, study_id="few-00000002")
    same = {"attention/constant": [(0.5,)] * 3, "attention/layerwise": [(0.5,)] * 3}
    record(ledger, same, study_id="same-00000003")
    alone = {"attention/constant": [(0.5,), (0.6,), (0.7,)]}
    record(ledger, alone, study_id="alone-00000004")
    study = planned("searches: 5, seeds: 2, smallest: 0.5")
    for reference in ("few", "same", "alone"):
        assert sd_of(ledger, reference) is None
        found = forecast_like(study, ledger, reference)
        assert (found.comparisons, found.sd, found.detectable, found.searches_needed) == (4, None, None, None)
        assert (found.epoch, found.hours) == (3.0, pytest.approx(6 * 5 * (10 + 2) * 6 * 3 / 3600))
    assert forecast_like(study, ledger, "few", sd=0.01).sd == 0.01
    with pytest.raises(RecordError, match="no ID"):
        forecast_like(planned(), ledger, "nothing")
