"""What became of each crucial layer under a policy: whether it lagged, where its rate ended, whether it answered.

The unit is the search, as in verdicts: each gives one number, the mean over its confirmation runs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kdstudy.analysis.estimates import CONFIDENCE, Estimate, estimate
from kdstudy.ledger import TrialRecord
from kdstudy.results import EpochRecord, LayerRecord

FEWEST_FOR_A_CORRELATION = 4
"""Searches from which a correlation has an interval: Fisher's z has the variance 1 / (n - 3)."""
_FLOOR = 1e-12
_SAME = 1e-9
"""Logarithms of rates that differ by less are the same."""


class Correlation(NamedTuple):
    """Pearson's correlation over searches with its 95 % interval, by Fisher's z."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LayerAnswer:
    """One crucial layer in one arm, after the last update.

    Args:
        arm: ``transfer/policy``.
        layer: The student's layer.
        searches: In which the arm has a completed confirmation run with an update.
        ratio: Divergence over chance level, geometric mean; None where no chance level was recorded.
        lag: Of the logarithm of that ratio, minus the mean over the layers; one number per search. None as ``ratio``.
        multipliers: Of the base rate, geometric mean of each search, in order.
        answering: Searches with two updates or more, which tell whether the divergence answers to the rate.
        steady: Whether the rate was the same in all of those.
        answer: Correlation, over those searches, of the mean log multiplier between the first measurement and the last
            with the change of the log divergence between the two; None with fewer than
            `FEWEST_FOR_A_CORRELATION`, and where one of the two never differs.
    """

    arm: str
    layer: str
    searches: int
    ratio: float | None
    lag: Estimate | None
    multipliers: tuple[float, ...]
    answering: int
    steady: bool
    answer: Correlation | None


class _Run(NamedTuple):
    """What one confirmation run says of one layer; logarithms throughout."""

    ratio: float | None
    lag: float | None
    multiplier: float
    path: tuple[float, float] | None


def layer_answers(
    trials: Sequence[TrialRecord], histories: Mapping[int, Sequence[EpochRecord]]
) -> tuple[LayerAnswer, ...]:
    """Return one answer for each layer of each arm that updated, in the order of trials and of depth.

    Args:
        trials: Completed confirmation runs.
        histories: Their epochs by trial number.
    """
    found: dict[tuple[str, str], dict[int, list[_Run]]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        updates = [epoch.layers for epoch in histories[trial.number] if epoch.layers]
        for place, layer in enumerate(updates[-1] if updates else ()):
            searches = found.setdefault((trial.arm, layer.layer), {})
            searches.setdefault(trial.search, []).append(_run(updates, place))
    return tuple(_answer(arm, layer, list(searches.values())) for (arm, layer), searches in found.items())


def _run(updates: Sequence[Sequence[LayerRecord]], place: int) -> _Run:
    ratios = [_log_ratio(layer) for layer in updates[-1]]
    own, mean = ratios[place], _mean(ratios)
    steps = [layers[place] for layers in updates]
    return _Run(
        ratio=own,
        lag=None if own is None or mean is None else own - mean,
        multiplier=_log(steps[-1].multiplier),
        path=_path(steps) if len(steps) > 1 else None,
    )


def _path(steps: Sequence[LayerRecord]) -> tuple[float, float]:
    """Return the mean log multiplier between the first measurement and the last, and what the divergence did."""
    between = statistics.fmean(_log(step.multiplier) for step in steps[:-1])
    return between, _log(steps[-1].divergence) - _log(steps[0].divergence)


def _answer(arm: str, layer: str, searches: Sequence[Sequence[_Run]]) -> LayerAnswer:
    ratio = _mean(run.ratio for runs in searches for run in runs)
    lags = [_mean(run.lag for run in runs) for runs in searches]
    paths = [[run.path for run in runs if run.path is not None] for runs in searches]
    told = [tuple(map(statistics.fmean, zip(*each, strict=True))) for each in paths if each]
    rates, changes = [path[0] for path in told], [path[1] for path in told]
    return LayerAnswer(
        arm=arm,
        layer=layer,
        searches=len(searches),
        ratio=None if ratio is None else math.exp(ratio),
        lag=estimate([lag for lag in lags if lag is not None]),
        multipliers=tuple(math.exp(statistics.fmean(run.multiplier for run in runs)) for runs in searches),
        answering=len(told),
        steady=_same(rates),
        answer=_correlation(rates, changes),
    )


def _correlation(rates: Sequence[float], changes: Sequence[float]) -> Correlation | None:
    if len(rates) < FEWEST_FOR_A_CORRELATION or _same(rates) or _same(changes):
        return None
    from scipy import stats

    found = stats.pearsonr(rates, changes)
    low, high = found.confidence_interval(CONFIDENCE)
    return Correlation(float(found.statistic), float(low), float(high))


def _same(values: Sequence[float]) -> bool:
    return not values or max(values) - min(values) < _SAME


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _log_ratio(layer: LayerRecord) -> float | None:
    return _log(layer.divergence) - _log(layer.chance) if layer.chance else None


def _log(value: float) -> float:
    return math.log(max(value, _FLOOR))
