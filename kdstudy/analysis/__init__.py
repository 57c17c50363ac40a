"""Evaluation of the records: comparisons of arms, statistics, summaries, reruns of trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdstudy.analysis.compare import compare
from kdstudy.analysis.comparison import Analysis, Comparison, Gain, GainDifference, Row
from kdstudy.analysis.estimates import MIN_SEARCHES, Estimate
from kdstudy.analysis.looks import LAST_LOOK, looks_problem
from kdstudy.analysis.luck import Luck
from kdstudy.analysis.planning import detectable, power, searches_needed
from kdstudy.analysis.searches import PairedSearches, SearchScores
from kdstudy.analysis.statistics import MIN_PAIRS, POWER, SIGNIFICANCE
from kdstudy.analysis.summary import arm_rows, best_json, importances, replay_yaml, show_json
from kdstudy.analysis.verdict import Judgement, Plan, Word, explore, judge
from kdstudy.plugins import lazy_names

if TYPE_CHECKING:
    from kdstudy.analysis.reproduce import reproduce_trial

__all__ = [
    "LAST_LOOK",
    "MIN_PAIRS",
    "MIN_SEARCHES",
    "POWER",
    "SIGNIFICANCE",
    "Analysis",
    "Comparison",
    "Estimate",
    "Gain",
    "GainDifference",
    "Judgement",
    "Luck",
    "PairedSearches",
    "Plan",
    "Row",
    "SearchScores",
    "Word",
    "arm_rows",
    "best_json",
    "compare",
    "detectable",
    "explore",
    "importances",
    "judge",
    "looks_problem",
    "power",
    "replay_yaml",
    "reproduce_trial",
    "searches_needed",
    "show_json",
]

__getattr__ = lazy_names(
    __name__,
    {
        "reproduce_trial": "kdstudy.analysis.reproduce",
    },
)
