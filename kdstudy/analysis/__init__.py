"""Evaluation of the records: comparisons of arms, statistics, summaries, reruns of trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdstudy.analysis.compare import compare
from kdstudy.analysis.comparison import Analysis, Comparison, Gain, GainDifference, Row
from kdstudy.analysis.statistics import MIN_PAIRS, POWER, SIGNIFICANCE
from kdstudy.analysis.summary import arm_rows, best_json, importances, replay_yaml, show_json
from kdstudy.plugins import lazy_names

if TYPE_CHECKING:
    from kdstudy.analysis.reproduce import reproduce_trial

__all__ = [
    "MIN_PAIRS",
    "POWER",
    "SIGNIFICANCE",
    "Analysis",
    "Comparison",
    "Gain",
    "GainDifference",
    "Row",
    "arm_rows",
    "best_json",
    "compare",
    "importances",
    "replay_yaml",
    "reproduce_trial",
    "show_json",
]

__getattr__ = lazy_names(
    __name__,
    {
        "reproduce_trial": "kdstudy.analysis.reproduce",
    },
)
