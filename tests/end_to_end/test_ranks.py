"""A study whose trials have two ranks, under Ray: one is killed, its trial continues, and nothing of it shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdstudy.ledger import Ledger

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

PLUGIN = '''
import os
import signal
from pathlib import Path

from kdstudy.transfer.attention import AttentionTransfer


class Mortal(AttentionTransfer):
    """Kills the second rank's process in the second epoch, once, where the environment asks for it."""

    steps = 0

    def part_of(self, draws, rank, ranks):
        self.steps += 1  # of student and teacher each
        hit = Path(os.environ["HIT"])
        if rank == 1 and self.steps == 16 and "KILL" in os.environ and not hit.exists():
            hit.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().part_of(draws, rank, ranks)
'''

STUDY = """
name: ranks
data: {name: synthetic, val_fraction: 0.25}
teacher: {model: resnet8, epochs: 1}
student: {model: resnet8}
train: {epochs: 3, batch_size: 32, base_lr: 0.1}
arms:
  transfers: ["mortal_ranks:Mortal"]
  policies: [{layerwise: {interval: 1, probe_size: 64}}]
search: {sampler: random, trials_per_arm: 1}
confirm: {seeds: 0}
cache: {mode: off}
resources: {ranks: 2}
"""


def run(folder: Path, **environment: str) -> tuple[Any, str]:
    folder.mkdir()
    (folder / "study.yaml").write_text(STUDY)
    (folder / "mortal_ranks.py").write_text(PLUGIN)
    store = folder / "store"
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    variables = {"PYTHONPATH": path, "KDSTUDY_STORE": str(store), "HIT": str(folder / "hit"), **environment}
    done = subprocess.run(
        [sys.executable, "-m", "kdstudy", "run", "study.yaml", "--json", "--allow-plugin", "mortal_ranks"],
        text=True,
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    study_id = json.loads(done.stdout[done.stdout.index("{\n") :])["study_id"]
    with Ledger.open(f"sqlite:///{store}/ledger.db") as ledger:
        (trial,) = ledger.trials(study_id)
        epochs = [record.numbers() for record in ledger.epochs(study_id, trial.number)]
    return (trial.state, trial.val, trial.weights_sha256, trial.numerics, epochs), done.stderr


def test_a_rank_that_is_killed_costs_time_alone(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole")
    assert whole[0] == "completed"
    assert whole[3]["ranks"] == 2
    cut, said = run(tmp_path / "cut", KILL="1")
    assert (tmp_path / "cut" / "hit").exists()
    assert "trial 0: its process was lost (kdstudy.training.ranks.RankLostError: rank 1 of the trial was lost" in said
    assert "it continues from its checkpoint" in said
    assert cut == whole
