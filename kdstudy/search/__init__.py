"""What runs next: a pure function of the study and of what has ended."""

from kdstudy.search.budget import budget_of
from kdstudy.search.cache_plan import CachePlan, configs_to_measure, keep_from_json
from kdstudy.search.guesses import place_guess
from kdstudy.search.pack_plan import PackPlan
from kdstudy.search.pick import picks_of
from kdstudy.search.planner import TrialPlanner
from kdstudy.search.pruners.base import Pruner, Scores
from kdstudy.search.samplers.base import PastTrial, Sampler, past_trial, propose, startup_values
from kdstudy.search.samplers.importance import STEADY_TRIALS, importance
from kdstudy.search.samplers.optuna_storage import OPTUNA_STATES, Replayed, replay_in_optuna
from kdstudy.search.samplers.tpe import optuna_study_of
from kdstudy.search.search_plan import check_numbers
from kdstudy.search.warm_start import check_warm_start, choose_warm_start, known_results, warm_start_lines

__all__ = [
    "OPTUNA_STATES",
    "STEADY_TRIALS",
    "CachePlan",
    "PackPlan",
    "PastTrial",
    "Pruner",
    "Replayed",
    "Sampler",
    "Scores",
    "TrialPlanner",
    "budget_of",
    "check_numbers",
    "check_warm_start",
    "choose_warm_start",
    "configs_to_measure",
    "importance",
    "keep_from_json",
    "known_results",
    "optuna_study_of",
    "past_trial",
    "picks_of",
    "place_guess",
    "propose",
    "replay_in_optuna",
    "startup_values",
    "warm_start_lines",
]
