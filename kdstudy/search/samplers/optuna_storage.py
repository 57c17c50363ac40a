"""Recorded trials as an Optuna storage in memory, for Optuna's dashboard."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kdstudy.study import Choice, Range

if TYPE_CHECKING:
    import optuna

OPTUNA_STATES = {
    "running": "RUNNING",
    "completed": "COMPLETE",
    "stopped": "PRUNED",
    "diverged": "FAIL",
    "failed": "FAIL",
}


@dataclass(frozen=True)
class Replayed:
    """A trial to be replayed.

    Args:
        values: By dotted path.
        state: One of `OPTUNA_STATES`.
        value: Validation score of its last epoch; None if there is none.
        steps: Validation score after each epoch.
        started: Aware.
        finished: Aware; None while it runs.
        notes: Shown with it: plain values.
    """

    values: dict[str, Any]
    state: str
    value: float | None
    steps: dict[int, float]
    started: datetime
    finished: datetime | None
    notes: dict[str, Any] = field(default_factory=dict)


def replay_in_optuna(arms: Mapping[str, tuple[Mapping[str, Range], Sequence[Replayed]]]) -> optuna.storages.BaseStorage:
    """Return an Optuna storage in memory with one study per arm; larger scores are better.

    Args:
        arms: By the name that the study shall have: the arm's ranges and its trials.
    """
    import optuna

    storage = optuna.storages.InMemoryStorage()
    for name, (space, trials) in arms.items():
        with _unannounced(name):
            study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(["validation score"])
        study.add_trials([_frozen(number, trial, space) for number, trial in enumerate(trials)])
    return storage


@contextmanager
def _unannounced(name: str) -> Iterator[None]:
    """Keep Optuna from logging that a study of this name is made; other uses of it are left as they are."""
    logger = logging.getLogger("optuna.storages._in_memory")

    def other(record: logging.LogRecord) -> bool:
        return not record.getMessage().endswith(name)

    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


def _frozen(number: int, trial: Replayed, space: Mapping[str, Range]) -> optuna.trial.FrozenTrial:
    import optuna

    state = optuna.trial.TrialState[OPTUNA_STATES[trial.state]]
    return optuna.trial.FrozenTrial(
        number=number,
        trial_id=-1,  # the storage gives it one
        state=state,
        value=trial.value if state == optuna.trial.TrialState.COMPLETE else None,
        datetime_start=trial.started.astimezone().replace(tzinfo=None),
        datetime_complete=None if trial.finished is None else trial.finished.astimezone().replace(tzinfo=None),
        params={path: _shown(span, trial.values[path]) for path, span in space.items()},
        distributions={path: _distribution(span) for path, span in space.items()},
        user_attrs=trial.notes,
        system_attrs={},
        intermediate_values=trial.steps,
    )


def _shown(span: Range, value: Any) -> Any:
    """Return the value as people read it: a choice by its label, which may be of any type."""
    return span.labels[span.index(value)] if isinstance(span, Choice) else value


def _distribution(span: Range) -> optuna.distributions.BaseDistribution:
    import optuna

    from kdstudy.search.samplers.tpe import distribution

    if isinstance(span, Choice):
        return optuna.distributions.CategoricalDistribution(span.labels)
    return distribution(span)
