"""Trials and epochs as data frames of pandas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kdstudy.ledger import TrialRecord
from kdstudy.results import EpochRecord

if TYPE_CHECKING:
    from pandas import DataFrame

NUMBERS = ("val", "test")
"""Columns that are numbers even where every one of them is missing."""


def trials_frame(trials: Sequence[TrialRecord]) -> DataFrame:
    """Return one row per trial: the keys of ``show --json`` as columns, ``arm`` by its name.

    ``seeds`` and ``values`` are one column for each of theirs, ``seeds.data_seed``, ``values.train.base_lr``;
    ``config`` and ``numerics`` stay mappings.
    """
    return _frame([_trial_row(trial) for trial in trials])


def _trial_row(trial: TrialRecord) -> dict[str, Any]:
    document: dict[str, Any] = {**trial.to_json(), "arm": trial.arm}
    row: dict[str, Any] = {}
    for key, value in document.items():
        row |= _spread(key, value) if key in ("seeds", "values") else {key: value}
    return row


def epochs_frame(histories: Iterable[tuple[TrialRecord, Sequence[EpochRecord]]]) -> DataFrame:
    """Return one row per epoch, with the trial that it is of.

    ``terms``, ``rates`` and ``scores`` are one column for each of theirs, ``rates.head``; what was measured and set
    of a layer is in columns such as ``multiplier.layer1``, in epochs without an update NaN.
    """
    return _frame([_epoch_row(trial, epoch) for trial, epochs in histories for epoch in epochs])


def _epoch_row(trial: TrialRecord, epoch: EpochRecord) -> dict[str, Any]:
    row: dict[str, Any] = {"trial": trial.number, "arm": trial.arm, "search": trial.search, "phase": trial.phase}
    for key, value in epoch.to_json().items():
        if key == "layers":
            continue
        row |= _spread(key, value) if isinstance(value, dict) else {key: value}
    for layer in epoch.layers:
        numbers = layer.to_json()
        row |= {f"{what}.{layer.layer}": number for what, number in numbers.items() if what != "layer"}
    return row


def _spread(key: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{key}.{name}": value for name, value in values.items()}


def _frame(rows: Sequence[dict[str, Any]]) -> DataFrame:
    from pandas import DataFrame

    frame = DataFrame(rows)
    return frame.astype({name: float for name in NUMBERS if name in frame})
