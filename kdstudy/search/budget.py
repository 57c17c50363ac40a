"""How much an arm may search: so many trials, or its share of the hours that trials take.

An hour of a budget is an hour of a trial's own epochs, wherever and beside how many others it ran. Arms share it
equally, and each runs one trial at least. An arm starts no trial while those in flight, at the mean price of those that
have ended, use up its share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from kdstudy.ledger import TrialRecord
from kdstudy.study import Study

MAX_FAILURES = 10
"""An arm whose last so many trials all failed starts no more: failures may take no time, and would go on for ever."""


def arm_seconds(study: Study) -> float | None:
    """Return the seconds that the search trials of an arm may take together; None where trials are counted."""
    budget = study.search.budget or {}
    if "gpu_hours" in budget:
        return 3600 * budget["gpu_hours"] / study.resources.gpus / len(study.arms)
    return 3600 * budget["hours"] / len(study.arms) if "hours" in budget else None


def may_start(study: Study, trials: Sequence[TrialRecord]) -> bool:
    """Return whether an arm may start a further search trial now.

    Args:
        study: The study.
        trials: The arm's search trials so far, those in flight included, in order.
    """
    if study.search.trials_per_arm is not None:
        return len(trials) < study.search.trials_per_arm
    limit, ended = arm_seconds(study), [trial for trial in trials if trial.done]
    assert limit is not None
    if not ended:
        return True
    if len(ended) >= MAX_FAILURES and all(trial.state == "failed" for trial in ended[-MAX_FAILURES:]):
        return False
    return _mean(ended) * len(trials) < limit


def is_over(study: Study, trials: Sequence[TrialRecord]) -> bool:
    """Return whether an arm's search has ended; arguments as for `may_start`."""
    return all(trial.done for trial in trials) and not may_start(study, trials)


def expected(study: Study, trials: Sequence[TrialRecord]) -> int:
    """Return how many search trials an arm comes to, as far as can be said; arguments as for `may_start`."""
    if study.search.trials_per_arm is not None:
        return study.search.trials_per_arm
    if is_over(study, trials):
        return len(trials)
    limit, ended = arm_seconds(study), [trial for trial in trials if trial.done]
    mean = _mean(ended) if ended else 0.0
    return max(1, len(trials), math.ceil((limit or 0.0) / mean) if mean > 0 else 0)


def _mean(ended: Sequence[TrialRecord]) -> float:
    return sum(trial.seconds for trial in ended) / len(ended)
