"""The tree-structured Parzen estimator, by Optuna."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, final

from annotated_types import Ge

from kdstudy.search.samplers.base import PastTrial, Sampler
from kdstudy.seeds import derive
from kdstudy.study import Choice, Int, Log, Range

if TYPE_CHECKING:
    import optuna

_STUDY = "kdstudy-arm-in-memory"


@final
class TPESampler(Sampler):
    """Propose where good trials are dense and poor ones are not.

    Source: Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization, by Optuna's TPESampler. The
    joint (multivariate) estimator: learning rate and transfer weight depend on each other, and an arm's
    space never changes, which is what it needs. The study it asks lives in memory, for one proposal. A
    diverged trial counts as completed with the score 0, so its neighbourhood is avoided; a stopped one counts
    as pruned, with its scores. Choices are passed by their index, so they may be lists or mappings.

    Args:
        candidates: Draws from the good trials' density of which the most promising is proposed, at least 1.
    """

    learns = True

    def __init__(self, *, candidates: Annotated[int, Ge(1)] = 24) -> None:
        self.candidates = candidates

    def propose(
        self, space: Mapping[str, Range], history: Sequence[PastTrial], *, index: int, seed: int
    ) -> dict[str, Any]:
        """Return the estimator's proposal after ``history``; a random one if it is empty."""
        import optuna

        study = optuna_study_of(
            space,
            history,
            sampler=optuna.samplers.TPESampler(
                n_startup_trials=1,
                n_ei_candidates=self.candidates,
                multivariate=True,
                seed=derive(seed, "tpe", index) % 2**32,
            ),
        )
        distributions = {path: distribution(span) for path, span in space.items()}
        asked = study.ask(fixed_distributions=distributions).params
        return {path: _value(span, asked[path]) for path, span in space.items()}


def optuna_study_of(
    space: Mapping[str, Range], history: Sequence[PastTrial], sampler: optuna.samplers.BaseSampler | None
) -> optuna.Study:
    """Return an Optuna study in memory that holds an arm's finished trials; larger scores are better.

    Args:
        space: The arm's ranges by dotted path.
        history: Its finished trials.
        sampler: Who proposes from it; None where nothing is proposed.
    """
    import optuna

    # One filter on one logger for one name: what else the process does with Optuna is left as it is.
    logging.getLogger("optuna.storages._in_memory").addFilter(_not_ours)
    study = optuna.create_study(study_name=_STUDY, sampler=sampler, direction="maximize")
    distributions = {path: distribution(span) for path, span in space.items()}
    study.add_trials([_frozen(trial, space, distributions) for trial in history])
    return study


def _not_ours(record: logging.LogRecord) -> bool:
    return not record.getMessage().endswith(_STUDY)


def distribution(span: Range) -> optuna.distributions.BaseDistribution:
    """Return a range as Optuna knows it; a choice by the index of its options."""
    import optuna

    if isinstance(span, Choice):
        return optuna.distributions.CategoricalDistribution(range(len(span)))
    if isinstance(span, Int):
        return optuna.distributions.IntDistribution(span.low, span.high)
    return optuna.distributions.FloatDistribution(span.low, span.high, log=isinstance(span, Log))


def _frozen(
    trial: PastTrial, space: Mapping[str, Range], distributions: dict[str, optuna.distributions.BaseDistribution]
) -> optuna.trial.FrozenTrial:
    import optuna

    params = {
        path: span.index(trial.values[path]) if isinstance(span, Choice) else trial.values[path]
        for path, span in space.items()
    }
    if trial.state == "stopped":
        steps = trial.steps or {1: trial.score}
        return optuna.trial.create_trial(
            state=optuna.trial.TrialState.PRUNED, params=params, distributions=distributions, intermediate_values=steps
        )
    return optuna.trial.create_trial(value=trial.score, params=params, distributions=distributions)


def _value(span: Range, asked: Any) -> Any:
    if isinstance(span, Choice):
        return span.options[int(asked)]
    if isinstance(span, Int):
        return int(asked)
    return min(max(float(asked), span.low), span.high)
