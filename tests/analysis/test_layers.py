"""What became of each layer, worked out by hand, and how it is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from kdstudy.analysis import layer_answers
from kdstudy.ledger import TrialRecord
from kdstudy.report.layer_text import layer_sentence
from kdstudy.results import MINUS, EpochRecord, LayerRecord
from kdstudy.study import ArmId
from tests.stages import ended

ARM = ArmId("attention", "lag")


def trial(number: int, search: int) -> TrialRecord:
    return TrialRecord("s-00000000", number, "confirm", ARM, number, number, number, stage=ended(), search=search)


def epoch(number: int, *layers: LayerRecord) -> EpochRecord:
    return EpochRecord(number, 1.0, {}, 0.5, 1.0, 0.1, {}, layers)


def both(
    number: int, first: float, second: float, alpha: float, chances: tuple[float | None, float | None] = (0.4, 0.4)
) -> EpochRecord:
    return epoch(
        number,
        LayerRecord("layer1", first, 0.0, alpha, chances[0]),
        LayerRecord("layer2", second, 0.0, 1 / alpha, chances[1]),
    )


def test_lag_and_rate_by_hand() -> None:
    # d / c = 4/10 and 1/10: ln 2 above and below their mean. Two runs in the first search, one in the second.
    histories = {
        0: [epoch(1), both(2, 0.3, 0.3, 3.0), both(4, 0.16, 0.04, 2.0)],
        1: [both(2, 0.3, 0.3, 3.0), both(4, 0.16, 0.04, 8.0), epoch(5)],
        2: [both(2, 0.3, 0.3, 3.0), both(4, 0.04, 0.16, 2.0)],
    }
    one, two = layer_answers([trial(0, 0), trial(1, 0), trial(2, 1)], histories)
    assert (one.arm, one.layer, two.layer, one.searches) == ("attention/lag", "layer1", "layer2", 2)
    assert one.ratio == pytest.approx((0.4 * 0.4 * 0.1) ** (1 / 3))
    assert one.lag is not None
    assert (one.lag.n, one.lag.mean) == (2, pytest.approx(0.0)), "ln 2 in the one search, -ln 2 in the other"
    assert one.multipliers == pytest.approx((4.0, 2.0)), "the geometric mean of 2 and 8"
    assert two.multipliers == pytest.approx((1 / 4, 1 / 2))
    assert (one.answering, one.answer) == (2, None)
    assert layer_sentence(one) == (
        "layer1: its divergence ended at 0.25 of chance, 1.00 times the layers' mean (whether it lags takes 3 searches "
        "that differ); its rate ended at 2.83 times the base rate (2.00 to 4.00 by search); whether its divergence "
        "answers to the rate takes 4 searches, here 2 searches."
    )


# By search: the multiplier between first and last measurement, and what became of a divergence of 0.2.
PATHS = ((2.0, 0.05), (1.5, 0.08), (1.0, 0.09), (0.8, 0.15), (3.0, 0.04))


def answered(*paths: tuple[float, float], chance: float | None = 0.4) -> list[str]:
    histories = {
        number: [both(1, 0.2, 0.2, alpha), both(2, last, 0.1, 1.0, (chance, chance))]
        for number, (alpha, last) in enumerate(paths)
    }
    return list(map(layer_sentence, layer_answers([trial(number, number) for number in histories], histories)))


def test_the_answer_is_a_correlation_over_searches_with_fishers_interval() -> None:
    histories = {k: [both(1, 0.2, 0.2, alpha), both(2, last, 0.1, 9.0 - k)] for k, (alpha, last) in enumerate(PATHS)}
    one, two = layer_answers([trial(number, number) for number in histories], histories)
    rates, changes = (np.log([pair[side] / (1, 0.2)[side] for pair in PATHS]) for side in (0, 1))
    value = np.corrcoef(rates, changes)[0, 1]
    reach = stats.norm.ppf(0.975) / math.sqrt(len(PATHS) - 3)
    expected = (value, math.tanh(math.atanh(value) - reach), math.tanh(math.atanh(value) + reach))
    assert one.answer == pytest.approx(expected)
    assert two.answer is None, "its divergence changed alike in every search"
    first, second = answered(*PATHS)
    assert f"its divergence fell more (correlation over 5 searches {MINUS}{-value:.2f} [" in first
    assert second.endswith(
        "its divergence's change was the same in all 5 searches, so none tells whether the divergence answers."
    )


def test_a_layer_lags_where_the_interval_over_searches_says_so() -> None:
    first, second = answered((2.0, 0.2), (1.5, 0.21), (1.0, 0.22), (1.2, 0.2))
    assert first.startswith("layer1 lags behind the other layers: its divergence ended at 0.52 of chance, 1.44 times")
    assert second.startswith("layer2 is ahead of the other layers: its divergence ended at 0.25 of chance, 0.69 times")
    assert "its rate ended at 1.00 times the base rate (1.00 in every search)" in first
    unclear, _ = answered((2.0, 0.2), (1.5, 0.05), (1.0, 0.11), (1.2, 0.07))
    assert unclear.startswith("layer1 is not told apart from the other layers")


def test_what_is_not_known_is_said() -> None:
    first, _ = answered(*PATHS, chance=None)
    assert first.startswith("layer1: whether it lags is not known, for no chance level was recorded; its rate ended at")
    same, _ = answered((2.0, 0.1), (2.0, 0.2), (2.0, 0.15), (2.0, 0.3))
    assert "its rate was the same in all 4 searches" in same
    three, _ = answered(*PATHS[:3])
    assert three.endswith("whether its divergence answers to the rate takes 4 searches, here 3 searches.")
    unrelated, _ = answered((2.0, 0.1), (1.0, 0.1), (2.0, 0.2), (1.0, 0.2))
    assert "; no answer is seen (correlation over 4 searches " in unrelated
    (once, _) = map(layer_sentence, layer_answers([trial(0, 0)], {0: [both(1, 0.2, 0.1, 2.0)]}))
    assert once.endswith("takes two updates in a run.")


def test_arms_without_updates_have_no_answer() -> None:
    assert layer_answers([trial(0, 0)], {0: [epoch(1), epoch(2)]}) == ()
