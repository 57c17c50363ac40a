"""Trials and epochs as flat rows, one value per column: for data frames and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from kdstudy.results.study_documents import EpochDocument, TrialDocument

Row = dict[str, Any]


def trial_row(trial: TrialDocument) -> Row:
    """Return the keys of a trial in ``show --json``, ``arm`` by its name.

    ``seeds`` and ``values`` are one column for each of theirs, ``seeds.data_seed``, ``values.train.base_lr``;
    ``config`` and ``numerics`` stay mappings.
    """
    row: Row = {}
    for key, value in {**trial, "arm": _arm(trial)}.items():
        row |= _spread(key, value) if key in ("seeds", "values") and isinstance(value, dict) else {key: value}
    return row


def epoch_row(trial: TrialDocument, epoch: EpochDocument) -> Row:
    """Return the keys of an epoch in ``show --trial --json``, with the trial that it is of.

    ``terms``, ``rates`` and ``scores`` are one column for each of theirs, ``rates.head``; what was measured and set
    of a layer is in columns such as ``multiplier.layer1``, which epochs without an update have not.
    """
    row: Row = {"trial": trial["trial"], "arm": _arm(trial), "search": trial["search"], "phase": trial["phase"]}
    for key, value in epoch.items():
        if key != "layers":
            row |= _spread(key, value) if isinstance(value, dict) else {key: value}
    for layer in epoch["layers"]:
        row |= {f"{what}.{layer['layer']}": number for what, number in layer.items() if what != "layer"}
    return row


def csv_text(rows: Sequence[Row]) -> str:
    """Return rows as CSV (RFC 4180, but lines end with LF) under the columns that any of them has.

    A missing value is empty, a mapping or list is JSON.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue() if columns else ""


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, Mapping | list | tuple) else value


def _arm(trial: TrialDocument) -> str:
    return f"{trial['arm']['transfer']}/{trial['arm']['policy']}"


def _spread(key: str, values: Mapping[str, Any]) -> Row:
    return {f"{key}.{name}": value for name, value in values.items()}
