"""The page on Python is true: its blocks run one after another, on a cluster that is this process."""

from __future__ import annotations

import functools
import logging
import re
from pathlib import Path

import pytest

import kdstudy
from kdstudy.results import EpochRecord
from tests.runner.in_process import InProcess

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


class Epochs:
    """Notes what it is told of."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, int]] = []
        self.ended: list[int] = []

    def on_epoch(self, study: kdstudy.Study, trial: kdstudy.Trial, epoch: EpochRecord) -> None:
        assert study.trial(trial.number).epochs[-1] == epoch, "it is recorded before it is told"
        self.epochs.append((trial.number, epoch.epoch))

    def on_trial_end(self, study: kdstudy.Study, trial: kdstudy.Trial) -> None:
        self.ended.append(trial.number)


def fails(study: kdstudy.Study, trial: kdstudy.Trial) -> None:
    raise ValueError("the caller's own fault")


@pytest.mark.slow  # a whole study, MLflow included
def test_every_block_of_the_page_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.ERROR, "kdstudy")
    noted, run = Epochs(), kdstudy.run

    @functools.wraps(run)
    def here(study, *, callbacks, **places):
        return run(study, callbacks=[fails, *callbacks, noted], cluster=InProcess(), **places)

    monkeypatch.setattr(kdstudy, "run", here, raising=False)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    study = names["study"]
    assert isinstance(study, kdstudy.Study)
    assert study.status == "finished"
    numbers = [trial.number for trial in study.trials]
    assert len(numbers) == 4
    assert noted.ended == numbers
    assert noted.epochs == [(number, 1) for number in numbers]
    assert sum(line.startswith(study.id) for line in capsys.readouterr().out.splitlines()) == 4
    assert caplog.text.count("ValueError: the caller's own fault") == 4, (
        "what a callback raises is logged and ends nothing"
    )
    assert kdstudy.load_study(store="my-store").resume(cluster=InProcess()) == study
    assert "name: first" in study.text
