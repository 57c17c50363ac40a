"""A network in a file beside the study file: in Ray's processes, and again from the record."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NETWORK = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, in_channels, *, width: int = 8):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.fc(torch.relu(self.conv(images)).mean((2, 3)))
"""
STUDY = """
name: own
data: {name: synthetic, val_fraction: 0.25}
teacher: {model: resnet8, epochs: 1, allow_weak: true}
student: {model: {"lying_beside:Net": {width: 4}}}
train: {epochs: 1, batch_size: 32, base_lr: 0.05}
arms: {transfers: [none], policies: [constant]}
search: {sampler: random, trials_per_arm: 1}
confirm: {seeds: 0}
"""


@pytest.mark.slow
def test_a_module_beside_the_study_file_runs_and_is_reproduced_as_the_next_step_says(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "lying_beside.py").write_text(NETWORK)
    (tmp_path / "files" / "study.yaml").write_text(STUDY)

    def kdstudy(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "kdstudy", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = kdstudy("run", "files/study.yaml", "--store", "store", "--allow-plugin", "lying_beside")
    assert done.returncode == 0, done.stderr
    assert "1 completed" in done.stdout
    (step,) = (line for line in done.stdout.splitlines() if " reproduce " in line)
    place = f"--allow-plugin {tmp_path}/files/lying_beside.py"
    assert step.endswith(f"--store store {place}")
    refused = kdstudy("reproduce", "--store", "store", "--allow-plugin", "lying_beside")
    assert refused.returncode == 1 and f"name its file: {place}" in refused.stderr
    again = kdstudy("reproduce", *step.split(" reproduce ")[1].split())
    assert again.returncode == 0 and again.stdout.startswith("identical"), again.stderr
    assert "code" not in again.stdout
    (tmp_path / "files" / "lying_beside.py").write_text(NETWORK + "# mended\n")
    again = kdstudy("reproduce", *step.split(" reproduce ")[1].split())
    assert again.returncode == 0
    assert "  the plug-in's code lying_beside.py has changed since the study began\n" in again.stdout
