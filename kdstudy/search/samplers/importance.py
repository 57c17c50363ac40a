"""Which searched values mattered: Optuna's importance of each parameter of an arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdstudy.search.samplers.base import PastTrial
from kdstudy.study import Range

MIN_TRIALS = 20
"""The estimate sets the best tenth of the trials against all: of fewer, that tenth is no two trials."""
STEADY_TRIALS = 50
"""From so many on the best tenth is five trials, which Optuna's documentation asks for."""


def importance(space: Mapping[str, Range], history: Sequence[PastTrial]) -> dict[str, float]:
    """Return the share of each parameter in how well trials did, the largest first; they sum to 1.

    Args:
        space: The arm's ranges by dotted path.
        history: Its finished trials.

    Returns:
        Empty where there are too few trials, or all of them did equally well.

    Source: PED-ANOVA, Watanabe et al. 2023, arXiv 2304.10255, as Optuna computes it.
    """
    scores = {observation.score for observation in history}
    if len(history) < MIN_TRIALS or len(scores) < 2 or not space:
        return {}
    import optuna

    from kdstudy.search.samplers.tpe import optuna_study_of

    found = optuna.importance.get_param_importances(optuna_study_of(space, history, sampler=None))
    return {path: float(share) for path, share in found.items()}
