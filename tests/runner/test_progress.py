"""What is said of a trial that failed: its line has the reason, and so has the end of a study."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

import click
import pytest

from kdstudy import cli
from kdstudy.analysis import Answer
from kdstudy.analysis.lost import lost_of
from kdstudy.cli.options import nothing_printed
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.runner import StudyResult
from kdstudy.runner.progress import Progress
from kdstudy.runner.times import Times
from kdstudy.study import parse_study
from tests.configs import TEXT
from tests.stages import ended
from tests.tracking.records import make_study, make_trial

CHAINED = """Traceback (most recent call last):
  File "a.py", line 3, in terms
    return weights["x"]
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 9, in step
    raise RuntimeError("sizes differ:\\n  got (2, 3)\\n  not (2, 4)")
RuntimeError: sizes differ:
  got (2, 3)
  not (2, 4)
"""


def failed(number: int = 7, error: str | None = CHAINED) -> TrialRecord:
    return make_trial(number=number, stage=ended("failed", error=error))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CHAINED, "RuntimeError: sizes differ:"),
        ("Traceback (most recent call last):\n  File \"a.py\", line 3\nKeyError: 'x'\n", "KeyError: 'x'"),
        ("layers: no layer 'midd'; did you mean 'mid'?", "layers: no layer 'midd'; did you mean 'mid'?"),
        ("its process was lost: killed\nmore of it", "its process was lost: killed"),
        ("Traceback (most recent call last):", None),
        (" \n", None),
        (None, None),
    ],
)
def test_the_reason_is_the_line_that_says_why(error: str | None, reason: str | None) -> None:
    assert failed(error=error).reason == reason


def test_the_line_of_a_trial_says_why_it_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kdstudy")
    study = parse_study(TEXT.format(transfer="none", policy="constant", epochs=1, base_lr=0.1), "tiny.yaml")
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db", create=True) as ledger:
        progress = Progress(study, "tiny-00000001", ledger, total=2, done=0)
        progress.ended(failed(), 2)
        progress.ended(make_trial(stage=ended("completed", val=0.5)), 2)
    first, second = caplog.messages
    assert first.startswith("[1/2] search attention/layerwise trial 7: failed, RuntimeError: sizes differ: (")
    assert second.startswith("[2/2] search attention/layerwise trial 7: completed val 0.5000 (")


def answer_to(trials: tuple[TrialRecord, ...]) -> Answer:
    """What a study answers of which these are all trials."""
    lost = lost_of(list(dict.fromkeys(trial.arm_id for trial in trials)), trials)
    return Answer("smoke-0123abcd", (), None, None, None, 0.1, None, lost=tuple(lost))


@pytest.mark.parametrize(
    ("trials", "said", "first"),
    [
        ((failed(3), failed(4)), "all 2 search trials failed: RuntimeError: sizes differ: (2 of 2);", 3),
        ((make_trial(stage=ended("completed")), failed(4, "no")), "1 of 2 trials failed: no;", 4),
        ((failed(3, "no"), failed(4), failed(5)), "3 search trials failed: RuntimeError: sizes differ: (2 of 3);", 4),
    ],
)
def test_the_end_of_a_study_says_why_trials_failed(
    trials: tuple[TrialRecord, ...],
    said: str,
    first: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    study = make_study(status="finished")
    result = StudyResult(study, trials, None, answer_to(trials), 0)
    monkeypatch.setattr(cli, "run", cli.run)  # a module of that name takes its place when it is imported
    with click.Context(cli.cli):
        assert importlib.import_module("kdstudy.cli.run")._tell(result, as_json=True) == 3
    told = capsys.readouterr().err
    assert said in told
    assert f"kdstudy show smoke-0123abcd --trial {first}" in told


def test_what_ray_prints_is_not_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    from ray._private.worker import print_to_stdstream

    lost = {"lines": ["A worker died or was killed"], "pid": "raylet", "is_err": False}
    with nothing_printed():
        print_to_stdstream(lost, ignore_prefix=False)
        print("a plug-in's")
    print("the document")
    said = capsys.readouterr()
    assert said.out == "the document\n"
    assert "A worker died" in said.err


def test_the_end_of_a_study_says_that_every_trial_diverged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "run", cli.run)
    study = make_study(status="finished")
    lost, whole = make_trial(stage=ended("diverged")), make_trial(stage=ended("completed", val=0.5))
    tell = importlib.import_module("kdstudy.cli.run")._tell
    for trials, said, code in (((lost, lost), True, 3), ((lost, whole), False, 0), ((), False, 3)):
        with click.Context(cli.cli):
            assert tell(StudyResult(study, trials, None, answer_to(trials), 0), as_json=True) == code
        told = capsys.readouterr().err
        assert ("all 2 search trials diverged; " in told) == ("; lower train.base_lr, or the weight" in told) == said


def test_the_times_of_a_study_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows the last trial, the page and MLflow, is told as well."""
    monkeypatch.setattr("time.monotonic", lambda: 257.0)
    times = Times(began=100.0, connected=106.0, prepared=119.0)
    told = times.summary({"search": 83.0, "confirmation": 48.0})
    assert told == "set-up 6 s, teacher 13 s, search 1:23, confirmation 48 s, closing 7 s, all 2:37"
