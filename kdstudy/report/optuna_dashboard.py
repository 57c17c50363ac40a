"""Optuna's dashboard over the record: a snapshot, one Optuna study per arm, on loopback."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kdstudy.errors import StoreError
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.search import OPTUNA_STATES, Replayed, replay_in_optuna

if TYPE_CHECKING:
    import optuna

HOST = "127.0.0.1"


def storage_of(ledger: Ledger, study_ids: Sequence[str]) -> optuna.storages.BaseStorage:
    """Return an Optuna storage with the search of every arm of these studies, each under ``ID/transfer/policy``.

    Args:
        ledger: The record.
        study_ids: IDs.

    Raises:
        RecordError: A study does not exist.
    """
    arms = {}
    for study_id in study_ids:
        record, scores = ledger.study(study_id), ledger.scores(study_id)
        study, trials = record.study(), ledger.trials(study_id, "search")
        for arm in study.arms:
            space = study.space(arm)
            own = [
                _replayed(trial, scores.get(trial.number, {}))
                for trial in trials
                if trial.arm == arm.name and trial.state in OPTUNA_STATES and trial.values.keys() == space.keys()
            ]
            arms[f"{study_id}/{arm.name}"] = (space, own)
    return replay_in_optuna(arms)


def optuna_study(ledger: Ledger, study_id: str, arm: str) -> optuna.Study:
    """Return the search of one arm as an Optuna study in memory.

    Args:
        ledger: The record.
        study_id: An ID.
        arm: ``transfer/policy``.

    Raises:
        StudyError: The study has no such arm.
    """
    import optuna

    name = ledger.study(study_id).study().arm(arm).name
    return optuna.load_study(study_name=f"{study_id}/{name}", storage=storage_of(ledger, [study_id]))


def _replayed(trial: TrialRecord, steps: dict[int, float]) -> Replayed:
    return Replayed(
        values=trial.values,
        state=trial.state,
        value=trial.val,
        steps=steps,
        started=trial.started or trial.created,
        finished=trial.finished,
        notes={"trial": trial.number, "state": trial.state, "seconds": trial.seconds, "run": trial.published.run_id},
    )


def serve(ledger: Ledger, study_ids: Sequence[str], port: int, ready: Callable[[str], None]) -> None:
    """Serve the dashboard until Ctrl-C.

    Args:
        ledger: The record; read once, at the start.
        study_ids: IDs.
        port: On loopback.
        ready: Called with the address just before the server answers.

    Raises:
        StoreError: The dashboard is not installed, or the port is taken.
    """
    try:
        dashboard = importlib.import_module("optuna_dashboard")
    except ModuleNotFoundError as error:
        raise StoreError("ui --optuna: needs optuna-dashboard; pip install 'kdstudy[dashboard]'") from error
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise StoreError(f"ui: port {port} is taken; choose another --port")
    storage = storage_of(ledger, study_ids)
    ready(f"http://{HOST}:{port}/dashboard/")
    dashboard.run_server(storage, host=HOST, port=port)
