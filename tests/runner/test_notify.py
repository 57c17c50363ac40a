"""The command that is run when a driver leaves a study: what it is told, and that nothing of it matters."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from kdstudy.cluster import EpochFinished
from kdstudy.errors import ClusterError
from kdstudy.ledger import Ledger
from kdstudy.runner import resume_study, run_study
from kdstudy.runner.notify import notify
from kdstudy.storage import Store
from kdstudy.study import parse_study
from tests.confirmed import record
from tests.runner.in_process import InProcess
from tests.runner.test_whole_studies import at

TEXT = """
name: told
data: {name: synthetic, val_fraction: 0.25}
teacher: {model: resnet8, epochs: 1, allow_weak: true}
student: {model: resnet8}
train: {epochs: 1, batch_size: 64, base_lr: 0.05}
arms: {transfers: [kd], policies: [constant]}
search: {trials_per_arm: 1, sampler: random}
confirm: {seeds: 0}
cache: {mode: "off"}
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.db", create=True)
    record(opened, {"attention/constant": [(0.5,)] * 3, "attention/layerwise": [(0.51,), (0.52,), (0.53,)]})
    return opened


@pytest.mark.slow
def test_every_end_of_a_study_is_told_once(store_of_a_study: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store, told = store_of_a_study, Path("told.txt")
    monkeypatch.setenv("KDSTUDY_NOTIFY", f'echo "$KDSTUDY_ID|$KDSTUDY_STATUS|$KDSTUDY_VERDICT" >> {told}; exit 7')
    lost = InProcess(before=at(0, EpochFinished, ClusterError("ray: lost")))
    with pytest.raises(ClusterError):
        run_study(parse_study(TEXT, "told.yaml"), store, cluster=lost)
    result = resume_study("latest", store, cluster=InProcess())
    assert result.study.status == "finished", "whatever the command does"
    study_id = result.study.id
    assert told.read_text().splitlines() == [f"{study_id}|interrupted|", f"{study_id}|finished|Nothing to compare yet"]


@pytest.fixture
def store_of_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store.at(str(tmp_path / "store"))


def test_it_is_told_the_verdict_and_what_it_prints_goes_to_stderr(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study_id = ledger.resolve("latest")
    ledger.update_study(study_id, status="finished")
    monkeypatch.setenv("KDSTUDY_NOTIFY", 'printf "%s: %s" "$KDSTUDY_STATUS" "$KDSTUDY_VERDICT" | tr a-z A-Z')
    notify(ledger, study_id)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "FINISHED: LAYERWISE AGAINST CONSTANT: INCONCLUSIVE", "1, 2 and 3 points: t 3.46, p 0.07"


def test_without_a_command_nothing_is_run_or_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KDSTUDY_NOTIFY", raising=False)
    notify(ledger, "no-such-study")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("exit 3", "ended with 3"),
        ("no-such-program-anywhere", "ended with 127"),
        ("sleep 60 | cat", "was ended after 0.3 s"),
        ("echo \0", "cannot be run (embedded null byte)"),
    ],
)
def test_a_command_that_fails_is_one_line(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, command: str, told: str
) -> None:
    caplog.set_level(logging.INFO, "kdstudy.runner.notify")
    monkeypatch.setattr("kdstudy.runner.notify.Settings.read", lambda: Told(command))  # no variable can hold a null
    began = time.monotonic()
    notify(ledger, "no-such-study", seconds=0.3)
    assert caplog.messages == [f"--notify: the command {told}; the study is unknown all the same"]
    assert time.monotonic() - began < 20


class Told:
    """Settings that name a command."""

    def __init__(self, notify: str) -> None:
        self.notify = notify
