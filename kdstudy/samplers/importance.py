"""Which searched values mattered: Optuna's importance of each parameter of an arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdstudy.samplers.base import Observation
from kdstudy.space import Range

MIN_TRIALS = 4
"""With fewer completed trials there is nothing to estimate."""


def importance(space: Mapping[str, Range], history: Sequence[Observation]) -> dict[str, float]:
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

    from kdstudy.samplers.tpe import study_of

    found = optuna.importance.get_param_importances(study_of(space, history, sampler=None))
    return {path: float(share) for path, share in found.items()}
