"""The live table: its numbers by hand, and how it looks on a terminal and off it."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import create_engine, text

from kdstudy.ledger import LeaseOwner, Ledger, StudyRecord, TrialRecord, utc_now
from kdstudy.report.status import progress_table, snapshot
from kdstudy.report.system_usage import Usage, usage
from kdstudy.results import EpochRecord, TrialResult, clock
from kdstudy.study import ArmId, parse_study

SMOKE = Path(__file__).parents[2] / "studies" / "smoke.yaml"
TEXT = SMOKE.read_text(encoding="utf-8")
STUDY = parse_study(TEXT, "smoke")
ID = "digits-smoke-00000000"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        opened.create_study(StudyRecord(ID, "digits-smoke", 0, TEXT), LeaseOwner.here())
        yield opened


def add(ledger: Ledger, number: int, policy: str, index: int, phase: Any = "search") -> None:
    ledger.add_trial(TrialRecord(ID, number, phase, ArmId("attention", policy), index, number, number))
    ledger.start_trial(ID, number)


def end(ledger: Ledger, number: int, state: Any, val: float | None, seconds: float, path: Path) -> None:
    """End a trial that took so many seconds from start to end."""
    ledger.finish_trial(ID, number, TrialResult(state, 4, val=val))
    trial = ledger.trial(ID, number)
    assert trial.finished is not None
    started = (trial.finished - timedelta(seconds=seconds)).replace(tzinfo=None)
    engine = create_engine(f"sqlite:///{path}/ledger.db")
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE kdstudy_trials SET started = :started WHERE number = :number"),
            {"started": started.isoformat(" "), "number": number},
        )
    engine.dispose()


def test_what_is_done_who_leads_and_what_remains(ledger: Ledger, tmp_path: Path) -> None:
    # Two arms of 2 search trials and 2 seeds.
    assert snapshot(ledger, STUDY, ID).left is None
    add(ledger, 0, "constant", 0)
    end(ledger, 0, "completed", 0.5, 10.0, tmp_path)
    add(ledger, 1, "layerwise", 0)
    end(ledger, 1, "diverged", None, 30.0, tmp_path)
    add(ledger, 2, "constant", 1)
    ledger.record_epoch(ID, 2, EpochRecord(1, 1.0, {}, 0.4, 1.0, 0.1, {}))
    started = ledger.trial(ID, 2).started
    assert started is not None
    now = snapshot(ledger, STUDY, ID, started + timedelta(seconds=4))
    constant, layerwise = now.arms
    assert (constant.planned, constant.completed, constant.running, constant.best) == (4, 1, 1, 0.5)
    assert constant.epochs == (1,)
    assert (layerwise.planned, layerwise.lost, layerwise.running, layerwise.best) == (4, 1, 0, None)
    # 3 trials of 10 s less the 4 s gone, and 3 of 30 s, on the one slot in use.
    assert now.left == pytest.approx(3 * 10 - 4 + 3 * 30, abs=0.01)
    assert (now.ended, now.planned, now.status) == (2, 8, "running")
    assert now.line() == "[2/8] 1 running, best val 0.5000 (attention/constant), about 1:56 left"


def test_an_arm_without_a_completed_trial_is_not_confirmed(ledger: Ledger, tmp_path: Path) -> None:
    for number in (1, 3):
        add(ledger, number, "layerwise", number // 2)
        end(ledger, number, "failed", None, 1.0, tmp_path)
    assert [arm.planned for arm in snapshot(ledger, STUDY, ID, utc_now()).arms] == [4, 2]


def test_every_search_is_planned_and_those_added_later_too(tmp_path: Path) -> None:
    """Two arms of 2 search trials and 2 seeds, three times; and what `kdstudy confirm` has asked for in addition."""
    study = parse_study(TEXT.replace("seeds: 2", "searches: 3, seeds: 2"), "smoke")
    assert study.confirm.searches == 3
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.create_study(StudyRecord.of(study, {}), LeaseOwner.here())
        study_id = ledger.resolve("latest")
        assert [arm.planned for arm in snapshot(ledger, study, study_id).arms] == [3 * (2 + 2)] * 2
        for index in range(2):  # of the second search: nothing of it is confirmed
            trial = TrialRecord(study_id, index, "search", ArmId("attention", "layerwise"), index, 1, 1, search=1)
            ledger.add_trial(trial)
            ledger.finish_trial(study_id, index, TrialResult("failed", 1))
        assert [arm.planned for arm in snapshot(ledger, study, study_id).arms] == [12, 10]
        ledger.update_study(study_id, searches=4, seeds=3)
        assert [arm.planned for arm in snapshot(ledger, study, study_id).arms] == [4 * (2 + 3), 4 * (2 + 3) - 3]


@pytest.mark.parametrize(
    ("constant", "layerwise", "planned"),
    [
        # Together: a draw counts if it completed in every arm.
        (["completed"] * 2, ["failed"] * 2, [2, 2]),
        (["completed", "failed"], ["failed", "completed"], [2, 2]),
        (["completed", "failed"], ["completed", "diverged"], [2 + 2, 2 + 2]),
        (["completed"] * 2, ["failed"], [2 + 2, 2 + 2]),  # not over yet
    ],
)
def test_arms_that_are_picked_together_are_lost_together(
    tmp_path: Path, constant: list, layerwise: list, planned: list[int]
) -> None:
    rates = TEXT.replace("trials_per_arm: 2", "trials_per_arm: 2, together: [train.base_lr]")
    rates = rates.replace("sampler: tpe", "sampler: random")
    study = parse_study(rates, "smoke")
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.create_study(StudyRecord.of(study, {}), LeaseOwner.here())
        study_id = ledger.resolve("latest")
        for place, states in enumerate((constant, layerwise)):
            for index, state in enumerate(states):
                number, policy = 2 * index + place, ("constant", "layerwise")[place]
                ledger.add_trial(TrialRecord(study_id, number, "search", ArmId("attention", policy), index, 1, 1))
                val = 0.5 if state == "completed" else None
                ledger.finish_trial(study_id, number, TrialResult(state, 4, val=val))
        assert [arm.planned for arm in snapshot(ledger, study, study_id).arms] == planned


def test_a_lone_survivor_of_many_is_not_confirmed(tmp_path: Path) -> None:
    study = parse_study(TEXT.replace("trials_per_arm: 2", "trials_per_arm: 3"), "smoke")
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.create_study(StudyRecord.of(study, {}), LeaseOwner.here())
        study_id = ledger.resolve("latest")
        for index, state in enumerate(("completed", "diverged", "failed")):
            trial = TrialRecord(study_id, index, "search", ArmId("attention", "layerwise"), index, 1, 1)
            ledger.add_trial(trial)
            ledger.finish_trial(study_id, index, TrialResult(state, 4, val=0.5 if state == "completed" else None))
        assert [arm.planned for arm in snapshot(ledger, study, study_id).arms] == [3 + 2, 3]


def test_the_table_on_a_terminal(ledger: Ledger, tmp_path: Path) -> None:
    add(ledger, 0, "constant", 0)
    end(ledger, 0, "completed", 0.5, 10.0, tmp_path)
    screen = io.StringIO()
    Console(file=screen, width=100, force_terminal=False).print(progress_table(snapshot(ledger, STUDY, ID)))
    shown = screen.getvalue()
    assert re.search(r"attention/constant +1/4 +0\.5000", shown)
    assert "1/8 trials" in shown
    assert "CPU" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_usage_is_in_shares() -> None:
    seen = usage()
    assert 0 <= seen.cpu <= 1
    assert 0 < seen.memory < 1
    assert Usage(0.5, 0.25, ((1.0, 0.1),)).text() == "CPU 50% | memory 25% | GPU 0 100%, memory 10%"


def test_a_clock_is_read_at_a_glance() -> None:
    assert [clock(seconds) for seconds in (41.6, 187, 7387)] == ["42 s", "3:07", "2:03:07"]


def on_a_terminal(command: list[str], environment: dict[str, str]) -> str:
    """Run a command whose output goes to a pseudo-terminal and return what it wrote there."""
    own, its = pty.openpty()
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment, close_fds=True)
    os.close(its)
    shown: list[bytes] = []

    def read() -> None:
        while True:
            try:
                block = os.read(own, 65536)
            except OSError:  # the other end is closed
                return
            shown.append(block)

    reader = threading.Thread(target=read)
    reader.start()
    assert process.wait(280) == 0
    reader.join()
    os.close(own)
    return b"".join(shown).decode()


@pytest.mark.slow
def test_run_and_watch_show_one_table_on_a_terminal_and_plain_lines_elsewhere(tmp_path: Path) -> None:
    environment = {**os.environ, "KDSTUDY_STORE": str(tmp_path / "store"), "TERM": "xterm-256color", "COLUMNS": "100"}
    command = [sys.executable, "-m", "kdstudy"]
    watched: list[str] = []

    def watch() -> None:
        while not (tmp_path / "store" / "ledger.db").exists():
            pass
        done = subprocess.run(
            [*command, "show", "--watch"], capture_output=True, text=True, env=environment, check=False
        )
        watched.append(done.stdout + done.stderr)

    watcher = threading.Thread(target=watch)
    watcher.start()
    shown = on_a_terminal([*command, "run", str(SMOKE)], environment)
    watcher.join(60)
    assert "8/8 trials" in shown
    assert "\x1b[" in shown
    assert "[3/8]" not in shown  # no line a trial beside the table
    assert shown.count("Traceback") == 0
    assert "report: " in shown
    assert "\x1b" not in watched[0]
    assert re.search(r"^\[\d/8\] .* running", watched[0], flags=re.MULTILINE)
    assert watched[0].rstrip().endswith("finished")
    table_after = on_a_terminal([*command, "show", "--watch"], environment)
    assert "8/8 trials" in table_after
    assert "finished" in table_after
