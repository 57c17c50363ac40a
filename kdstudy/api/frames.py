"""Trials and epochs as data frames of pandas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kdstudy.ledger import TrialRecord
from kdstudy.results import EpochRecord, epoch_row, trial_row

if TYPE_CHECKING:
    from pandas import DataFrame

NUMBERS = ("val", "test")
"""Columns that are numbers even where every one of them is missing."""


def trials_frame(trials: Sequence[TrialRecord]) -> DataFrame:
    """Return one row per trial: see `kdstudy.results.trial_row`."""
    return _frame([trial_row(trial.to_json()) for trial in trials])


def epochs_frame(histories: Iterable[tuple[TrialRecord, Sequence[EpochRecord]]]) -> DataFrame:
    """Return one row per epoch, with the trial that it is of: see `kdstudy.results.epoch_row`, or NaN."""
    return _frame([epoch_row(trial.to_json(), epoch.to_json()) for trial, epochs in histories for epoch in epochs])


def _frame(rows: Sequence[dict[str, Any]]) -> DataFrame:
    from pandas import DataFrame

    frame = DataFrame(rows)
    return frame.astype({name: float for name in NUMBERS if name in frame})
