"""Trials whose GPU or memory gives out: started again from their checkpoints, as often as the study allows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kdstudy.ledger import Ledger

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

PLUGIN = '''
import os
from pathlib import Path

import torch

from kdstudy.transfer.none import NoTransfer

ERRORS = (torch.OutOfMemoryError, torch.AcceleratorError, MemoryError)
BATCHES = 6  # of an epoch


class Recovers(NoTransfer):
    """Lacks memory in the second epoch after each start, three times in all."""

    folder, at = Path("recovers"), BATCHES + 2

    def __init__(self, context) -> None:
        super().__init__(context)
        self.batch = 0

    def terms(self, student, teacher, batch):
        self.batch += 1
        if self.batch == self.at and "EXHAUST" in os.environ:
            past = len(list(self.folder.glob("*")))
            if past < 3 or self.at == 1:
                (self.folder / f"{past}").touch()
                raise ERRORS[past % 3](f"attempt {past}")
        return {}

    @property
    def uses_teacher(self) -> bool:
        return True


class Exhausted(Recovers):
    """Never gets beyond its first batch."""

    folder, at = Path("exhausted"), 1
'''

STUDY = """
name: exhausted
seed: 1
data: {name: synthetic, val_fraction: 0.25}
teacher: {model: resnet8, epochs: 2}
student: {model: resnet8}
train: {epochs: 5, batch_size: 32, base_lr: 0.05}
arms:
  transfers: ["exhausted_plugin:Recovers", "exhausted_plugin:Exhausted"]
  policies: [constant]
search: {sampler: random, trials_per_arm: 1}
confirm: {seeds: 0}
resources: {max_failures: 3}
"""


def kdstudy(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kdstudy", *arguments, "--json", "--allow-plugin", "exhausted_plugin"],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "KDSTUDY_STORE": str(folder / "store"), **environment},
    )


def test_a_trial_out_of_memory_goes_on_from_its_checkpoint_until_it_has_failed_too_often(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "exhausted_plugin.py").write_text(PLUGIN)
    for folder in ("recovers", "exhausted"):
        (tmp_path / folder).mkdir()
    done = kdstudy(tmp_path, "run", "study.yaml", EXHAUST="yes")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["trials"] == {"completed": 1, "stopped": 0, "diverged": 0, "failed": 1}
    assert len(list((tmp_path / "recovers").iterdir())) == 3, "one of each error"
    assert len(list((tmp_path / "exhausted").iterdir())) == 1 + 3, "max_failures times again"
    with Ledger.open(f"sqlite:///{tmp_path}/store/ledger.db") as ledger:
        study = ledger.study(outcome["study_id"])
        recovered, failed = ledger.trials(study.id)
        epochs = [record.epoch for record in ledger.epochs(study.id, recovered.number)]
    assert (recovered.state, epochs) == ("completed", [1, 2, 3, 4, 5])
    assert (failed.state, failed.epochs) == ("failed", 0)
    assert "OutOfMemoryError: attempt 3" in failed.error
    client = MlflowClient(f"sqlite:///{tmp_path}/store/mlflow.db")
    points = client.get_metric_history(recovered.published.run_id, "val")
    assert sorted(point.step for point in points) == [1, 2, 3, 4, 5], "no gap, no duplicate"
    assert client.get_run(failed.published.run_id).info.status == "FAILED"
    again = json.loads(kdstudy(tmp_path, "reproduce", study.id, "--trial", str(recovered.number)).stdout)
    assert (again["verdict"], again["weights_identical"]) == ("identical", True), "an undisturbed run: the same bits"
    assert again["epochs_compared"] == 5
