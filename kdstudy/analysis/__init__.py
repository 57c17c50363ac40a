"""Evaluation of the records: comparisons of arms, statistics, summaries, reruns of trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdstudy.analysis.answer import Answer, ArmAnswer, RanWith, TakeHome, Warned
from kdstudy.analysis.compare import compare
from kdstudy.analysis.comparison import Comparison, Gain, GainDifference, Row
from kdstudy.analysis.default_trial import Chosen, chosen_trial, require_student, why_chosen
from kdstudy.analysis.differences import trial_difference
from kdstudy.analysis.estimates import SIGNIFICANCE, Estimate
from kdstudy.analysis.forecast import Forecast, forecast_like, forecast_of
from kdstudy.analysis.layers import FEWEST_FOR_A_CORRELATION, Correlation, LayerAnswer, layer_answers
from kdstudy.analysis.luck import Luck
from kdstudy.analysis.planning import POWER, detectable, searches_needed
from kdstudy.analysis.searches import PairedSearches, SearchScores
from kdstudy.analysis.study_warnings import middle
from kdstudy.analysis.summary import arm_rows, best_json, importance_basis, importances, replay_yaml, show_json
from kdstudy.analysis.verdict import Judgement, Plan, explore, judge
from kdstudy.plugins import lazy_names

if TYPE_CHECKING:
    from kdstudy.analysis.reproduce import Reproduction, reproduce_trial
    from kdstudy.analysis.students import code_told, take_away

__all__ = [
    "FEWEST_FOR_A_CORRELATION",
    "POWER",
    "SIGNIFICANCE",
    "Answer",
    "ArmAnswer",
    "Chosen",
    "Comparison",
    "Correlation",
    "Estimate",
    "Forecast",
    "Gain",
    "GainDifference",
    "Judgement",
    "LayerAnswer",
    "Luck",
    "PairedSearches",
    "Plan",
    "RanWith",
    "Reproduction",
    "Row",
    "SearchScores",
    "TakeHome",
    "Warned",
    "arm_rows",
    "best_json",
    "chosen_trial",
    "code_told",
    "compare",
    "detectable",
    "explore",
    "forecast_like",
    "forecast_of",
    "importance_basis",
    "importances",
    "judge",
    "layer_answers",
    "middle",
    "replay_yaml",
    "reproduce_trial",
    "require_student",
    "searches_needed",
    "show_json",
    "take_away",
    "trial_difference",
    "why_chosen",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Reproduction": "kdstudy.analysis.reproduce",
        "code_told": "kdstudy.analysis.students",
        "reproduce_trial": "kdstudy.analysis.reproduce",
        "take_away": "kdstudy.analysis.students",
    },
)
