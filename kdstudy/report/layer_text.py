"""One sentence about each crucial layer: does it lag beyond chance, what did its rate do, did its divergence answer."""

from __future__ import annotations

import math

from kdstudy.analysis import FEWEST_FOR_A_CORRELATION, LayerAnswer
from kdstudy.results import MINUS, count_of
from kdstudy.study import MIN_SEARCHES


def layer_sentence(answer: LayerAnswer) -> str:
    """Return what is known of one layer in one arm, one sentence with a full stop."""
    return f"{_lag(answer)}; {_rate(answer)}; {_response(answer)}."


def _lag(answer: LayerAnswer) -> str:
    name, lag = answer.layer, answer.lag
    if answer.ratio is None or lag is None:
        return f"{name}: whether it lags is not known, for no chance level was recorded"
    level = f"{answer.ratio:.2f} of chance, {math.exp(lag.mean):.2f} times the layers' mean"
    if lag.n < MIN_SEARCHES or lag.ci_low is None or lag.ci_high is None:
        return f"{name}: its divergence ended at {level} (whether it lags takes {MIN_SEARCHES} searches that differ)"
    word = "lags behind" if lag.ci_low > 0 else "is ahead of" if lag.ci_high < 0 else "is not told apart from"
    interval = f"[{math.exp(lag.ci_low):.2f}, {math.exp(lag.ci_high):.2f}]"
    return f"{name} {word} the other layers: its divergence ended at {level} {interval}"


def _rate(answer: LayerAnswer) -> str:
    rates = answer.multipliers
    mean = math.exp(sum(map(math.log, rates)) / len(rates))
    low, high = f"{min(rates):.2f}", f"{max(rates):.2f}"
    spread = f" ({low} in every search)" if low == high else f" ({low} to {high} by search)"
    return f"its rate ended at {mean:.2f} times the base rate{spread if len(rates) > 1 else ''}"


def _response(answer: LayerAnswer) -> str:
    count = count_of(answer.answering, "search", "searches")
    if not answer.answering:
        return "whether its divergence answers to the rate takes two updates in a run"
    if answer.answering < FEWEST_FOR_A_CORRELATION:
        return f"whether its divergence answers to the rate takes {FEWEST_FOR_A_CORRELATION} searches, here {count}"
    found = answer.answer
    if found is None:
        same = "rate" if answer.steady else "divergence's change"
        return f"its {same} was the same in all {count}, so none tells whether the divergence answers"
    if found.high < 0:
        word = "where its rate was higher, its divergence fell more"
    else:
        word = "where its rate was higher, its divergence fell less" if found.low > 0 else "no answer is seen"
    value, low, high = (f"{each:.2f}".replace("-", MINUS) for each in found)
    return f"{word} (correlation over {count} {value} [{low}, {high}])"
