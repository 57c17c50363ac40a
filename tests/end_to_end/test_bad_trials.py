"""Trials that diverge, raise or are stopped early: results like any other, and the study goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from kdstudy.ledger import Ledger
from kdstudy.models import build_model
from tests.configs import fresh_teacher
from tests.data.layouts import make_folders

PLUGIN = '''
from kdstudy.transfer.none import NoTransfer


class Raises(NoTransfer):
    """Raises in its third batch."""

    def __init__(self, context, *, at: int = 3) -> None:
        super().__init__(context)
        self.left = at

    def terms(self, student, teacher, batch):
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("the plug-in is broken")
        return {}

    @property
    def uses_teacher(self) -> bool:
        return True
'''

STUDY = """
name: bad-trials
seed: 1
data: {name: synthetic}
teacher: {model: resnet8, epochs: 2}
student: {model: resnet8}
train: {epochs: 4, batch_size: 32, base_lr: {choice: [0.05, 1.0e+30]}}
arms:
  transfers: [none, "broken_plugin:Raises"]
  policies: [constant]
search: {sampler: grid, trials_per_arm: 2}
confirm: {seeds: 1}
"""

PRUNED = """
name: pruned
seed: 6  # draws a good rate first and hopeless ones later: these are stopped, whichever process is faster
data: {name: synthetic}
teacher: {model: resnet8, epochs: 2}
student: {model: resnet8}
train: {epochs: 4, batch_size: 32, base_lr: {log: [0.0001, 0.1]}}
arms:
  transfers: [none]
  policies: [constant, decay]
search: {sampler: random, trials_per_arm: 6, pruner: {asha: {grace: 1, reduction: 2}}}
confirm: {seeds: 1}
"""


def run(folder: Path, text: str, *, code: int) -> tuple[dict[str, Any], str]:
    (folder / "study.yaml").write_text(text)
    (folder / "broken_plugin.py").write_text(PLUGIN)
    done = subprocess.run(
        [sys.executable, "-m", "kdstudy", "run", "study.yaml", "--json", "--allow-plugin", "broken_plugin"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "KDSTUDY_STORE": str(folder / "store")},
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.slow
def test_diverged_and_failed_trials_are_recorded_and_the_study_finishes(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, STUDY, code=3)
    assert outcome["status"] == "finished"
    assert outcome["trials"] == {"completed": 2, "stopped": 0, "diverged": 1, "failed": 2}
    with Ledger.open(f"sqlite:///{tmp_path / 'store' / 'ledger.db'}") as ledger:
        trials = ledger.trials(outcome["study_id"])
        ends = {(t.arm_id.transfer, t.phase, t.values["train.base_lr"]): t for t in trials}
        (failed, also_failed) = [t for t in trials if t.state == "failed"]
    assert ends["none", "search", 0.05].state == "completed"
    assert ends["none", "confirm", 0.05].test is not None
    diverged = ends["none", "search", 1e30]
    assert (diverged.state, diverged.val, diverged.weights_sha256) == ("diverged", None, None)
    for trial in (failed, also_failed):
        assert "Traceback" in trial.error
        assert "the plug-in is broken" in trial.error
    assert not [t for t in trials if t.phase == "confirm" and t.arm_id.transfer != "none"], "nothing to confirm"


@pytest.mark.slow
def test_asha_stops_within_an_arm_and_the_stopped_are_no_candidates(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, PRUNED, code=0)
    counts = outcome["trials"]
    assert counts["stopped"] >= 2
    assert counts["failed"] == counts["diverged"] == 0
    assert counts["completed"] + counts["stopped"] == 2 * (6 + 1)
    with Ledger.open(f"sqlite:///{tmp_path / 'store' / 'ledger.db'}") as ledger:
        trials = ledger.trials(outcome["study_id"])
    for trial in trials:
        if trial.state == "stopped":
            assert trial.phase == "search"
            assert 1 <= trial.epochs < 4
            assert trial.val is not None
        else:
            assert trial.epochs == 4
    reproduced = subprocess.run(
        [
            sys.executable,
            "-m",
            "kdstudy",
            "reproduce",
            "--json",
            "--trial",
            str(next(t.number for t in trials if t.state == "stopped")),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KDSTUDY_STORE": str(tmp_path / "store")},
    )
    assert json.loads(reproduced.stdout)["verdict"] == "identical", reproduced.stderr


@pytest.mark.slow
def test_a_teacher_near_chance_ends_the_study_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(PRUNED.replace("epochs: 2}", "epochs: 1, base_lr: 1.0e-9}"))
    done = subprocess.run(
        [sys.executable, "-m", "kdstudy", "run", "study.yaml", "--store", "store"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "near chance" in error
    with Ledger.open(f"sqlite:///{tmp_path / 'store' / 'ledger.db'}") as ledger:
        study = ledger.study(ledger.resolve("latest"))
    assert study.status == "failed"
    assert "near chance" in study.message


@pytest.mark.parametrize("address", ["127.0.0.1:1", "auto", "nonsense"])
def test_an_address_without_a_cluster_is_one_line(tmp_path: Path, address: str) -> None:
    (tmp_path / "study.yaml").write_text(PRUNED)
    done = subprocess.run(
        [sys.executable, "-m", "kdstudy", "run", "study.yaml", "--store", "store", "--address", address],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: --address")]
    assert not (tmp_path / "store").exists()


@pytest.mark.long
@pytest.mark.slow
def test_paths_of_a_study_are_meant_from_its_file_for_every_command_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "elsewhere").mkdir()
    make_folders(tmp_path / "pictures")
    shape, statistics = (3, 16, 16), {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    teacher = build_model("resnet8", {}, num_classes=3, image_shape=shape, seed=1, **statistics)
    torch.save(teacher.state_dict(), tmp_path / "teacher.pt")
    text = PRUNED.replace("{name: synthetic}", "{name: imagefolder, root: ../pictures, options: {size: 16}}")
    text = text.replace("{asha: {grace: 1, reduction: 2}}", "none").replace("trials_per_arm: 6", "trials_per_arm: 1")
    text = text.replace("resnet8, epochs: 2}", "resnet8, path: ../teacher.pt, allow_weak: true}")
    (tmp_path / "studies" / "study.yaml").write_text(text)
    ran = command(tmp_path, "run", "studies/study.yaml", "--json")
    assert ran.returncode == 0, ran.stderr
    again = command(tmp_path / "elsewhere", "reproduce", "--json", store=tmp_path / "store")
    assert json.loads(again.stdout)["verdict"] == "identical", again.stderr
    more = command(tmp_path / "elsewhere", "confirm", "--seeds", "1", "--json", store=tmp_path / "store")
    assert more.returncode == 0, more.stderr


@pytest.mark.long
@pytest.mark.slow
def test_a_loaded_teacher_is_needed_no_more_once_the_store_has_it(tmp_path: Path) -> None:
    torch.save(fresh_teacher().state_dict(), tmp_path / "teacher.pt")
    text = PRUNED.replace("resnet8, epochs: 2}", "resnet8, path: teacher.pt, allow_weak: true}")
    text = text.replace("{asha: {grace: 1, reduction: 2}}", "none").replace("trials_per_arm: 6", "trials_per_arm: 1")
    outcome, _ = run(tmp_path, text, code=0)
    assert outcome["trials"]["completed"] == 4
    (tmp_path / "teacher.pt").unlink()
    again = command(tmp_path, "reproduce", "--json")
    assert json.loads(again.stdout)["verdict"] == "identical", again.stderr
    more = command(tmp_path, "confirm", "--seeds", "2", "--json")
    assert json.loads(more.stdout)["trials"]["completed"] == 8, more.stderr
    with Ledger.open(f"sqlite:///{tmp_path / 'store' / 'ledger.db'}") as ledger:
        assert ledger.study(ledger.resolve("latest")).seeds == 3, "an interrupted confirmation is resumed in full"
    refused = command(tmp_path, "run", "study.yaml")
    assert refused.returncode == 1
    assert "cannot be read (No such file or directory)" in refused.stderr


def command(folder: Path, *arguments: str, store: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KDSTUDY_STORE": str(store or folder / "store")}
    return subprocess.run(
        [sys.executable, "-m", "kdstudy", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
        timeout=280,
    )
