"""Optuna's dashboard over the record."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from benchmarks.report_page import make_record
from kdstudy.ledger import Ledger
from kdstudy.report.optuna_dashboard import storage_of
from kdstudy.search import Replayed, replay_in_optuna
from kdstudy.study import Choice, Int, Log
from tests.browser import chromium, watched


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("optuna")


@pytest.fixture(scope="module")
def ledger(folder: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{folder}/ledger.db") as opened:
        make_record(opened, trials=5, seeds=1, epochs=3)
        yield opened


def test_a_snapshot_is_made_in_silence_and_leaves_the_callers_logging(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("optuna.storages._in_memory")
    before = logger.level, list(logger.filters)
    caplog.set_level(logging.INFO, logger="optuna")
    optuna.logging.enable_propagation()
    try:
        storage_of(ledger, [ledger.resolve("latest")])
        assert not caplog.records and (logger.level, logger.filters) == before
        optuna.create_study(study_name="someone-elses")
        assert {record.name for record in caplog.records} == {logger.name}
    finally:
        optuna.logging.disable_propagation()


def test_every_search_trial_is_in_its_arm_s_study(ledger: Ledger) -> None:
    study_id = ledger.resolve("latest")
    storage = storage_of(ledger, [study_id])
    arms = {"/".join(arm) for arm in ledger.arms(study_id)}
    assert {study.study_name for study in optuna.get_all_study_summaries(storage)} == {f"{study_id}/{a}" for a in arms}
    for arm in arms:
        study = optuna.load_study(study_name=f"{study_id}/{arm}", storage=storage)
        recorded = [trial for trial in ledger.trials(study_id, "search") if trial.arm == arm]
        assert study.metric_names == ["validation score"]
        assert [trial.params for trial in study.trials] == [trial.values for trial in recorded]
        assert [trial.value for trial in study.trials] == [trial.val for trial in recorded]
        best = max(recorded, key=lambda trial: trial.val or 0.0)
        assert study.best_trial.user_attrs["trial"] == best.number
        assert len(study.best_trial.intermediate_values) == 3


def test_states_choices_and_times(ledger: Ledger) -> None:
    trial = ledger.trials(ledger.resolve("latest"))[0]
    assert trial.started is not None
    space = {"a": Choice((8, "8", True)), "b": Int(1, 3), "c": Log(0.1, 10)}
    states = {"completed": 0.5, "stopped": 0.4, "diverged": None, "failed": None, "running": 0.3}
    trials = [
        Replayed(
            {"a": "8", "b": 2, "c": 1.0},
            state,
            value,
            {1: 0.4},
            trial.started,
            None if state == "running" else trial.finished,
        )
        for state, value in states.items()
    ]
    study = optuna.load_study(study_name="s", storage=replay_in_optuna({"s": (space, trials)}))
    assert [each.state.name for each in study.trials] == ["COMPLETE", "PRUNED", "FAIL", "FAIL", "RUNNING"]
    assert [each.value for each in study.trials] == [0.5, None, None, None, None]
    assert study.trials[0].params == {"a": space["a"].labels[1], "b": 2, "c": 1.0}
    assert study.trials[0].datetime_start == trial.started.astimezone().replace(tzinfo=None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_the_dashboard_shows_the_record(ledger: Ledger, folder: Path) -> None:
    port = free_port()
    command = [sys.executable, "-u", "-m", "kdstudy", "ui", "--optuna", "--store", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address == f"http://127.0.0.1:{port}/dashboard/"
        for _ in range(100):
            try:
                studies = get(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
                break
            except OSError:
                time.sleep(0.1)
        assert len(studies) == 4
        with chromium() as browser, watched(browser) as page:
            page.goto(address)
            page.get_by_text("jacobian/layerwise").first.click()
            page.get_by_text("Best Trial").first.wait_for()
            study_id = ledger.resolve("latest")
            vals = [t.val or 0.0 for t in ledger.trials(study_id, "search") if t.arm == "jacobian/layerwise"]
            page.get_by_text(f"{max(vals):.6f}"[:7]).first.wait_for()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
