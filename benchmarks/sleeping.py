"""A study whose trials sleep where others compute: what is left of its time is the platform's.

All but the arithmetic is the real thing: `kdstudy run` in a process of its own, queue, Ray Tune, workers, ledger,
MLflow, checkpoints, students. The transfer method `Sleep` sleeps in each step, and each epoch is one step. The name of
the process that ran a trial stands among its loss terms, so that the ledger tells how many were used.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from kdstudy.ledger import Ledger
from kdstudy.transfer import Batch, NoTransfer, Observation, TransferContext

ROOT = Path(__file__).parents[1]
STUDY = """\
name: sleeping
seed: 0
data:    {{name: synthetic, val_fraction: 0.2, options: {{num_classes: 2, size: {size}, count: {count}}}}}
teacher: {{model: "benchmarks.sleeping:Point", epochs: 1, allow_weak: true}}
student: {{model: "{student}"}}
train:   {{epochs: {epochs}, batch_size: 32, base_lr: {{log: [0.001, 0.3]}}}}
arms:
  transfers:
    - "benchmarks.sleeping:Sleep": {{seconds: {seconds}}}
  policies: [constant]
search:  {{sampler: {sampler}, trials_per_arm: {trials}}}
confirm: {{seeds: 0}}
cache:   {{mode: off}}
"""
DEFAULTS: Mapping[str, object] = {
    **{"trials": 100, "epochs": 1, "seconds": 1.0, "sampler": "tpe"},
    **{"student": "benchmarks.sleeping:Point", "size": 4, "count": 40},
}


class Point(nn.Module):
    """A network of two small layers.

    Args:
        num_classes: Logits.
        in_channels: Of the images.
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(in_channels, 2, 1), nn.Linear(2, num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return logits, (B, K)."""
        logits: Tensor = self.head(self.convolution(images_BCHW).mean((2, 3)))
        return logits


class Sleep(NoTransfer):
    """Sleeps in each step.

    Args:
        context: Not looked at.
        seconds: For how long, at least 0.
    """

    def __init__(self, context: TransferContext, *, seconds: Annotated[float, Ge(0)] = 1.0) -> None:
        super().__init__(context)
        self.seconds = seconds

    @property
    def uses_teacher(self) -> bool:
        """Always True: else there is no term to ask for."""
        return True

    def terms(self, student: Observation, teacher: Observation, batch: Batch) -> dict[str, Tensor]:
        """Sleep, and return the process's number, which no gradient comes from."""
        time.sleep(self.seconds)
        return {"process": torch.tensor(float(os.getpid()))}


@dataclass
class Run:
    """What a sleeping study took.

    Args:
        trials: How many ended.
        startup: Seconds from the start of its process to the start of the first trial.
        span: Seconds from there to the end of the last one.
        after: Seconds from there to the end of the process.
        processes: How many the trials ran in.
        memory: Resident bytes of the driver, by how many trials had ended.
        busy: CPU seconds of the driver between the ends of the first and the last.
    """

    trials: int
    startup: float
    span: float
    after: float
    processes: int
    memory: dict[int, int] = field(default_factory=dict)
    busy: float = 0.0


def environment(slots: int) -> dict[str, str]:
    """Return the environment of a process whose local Ray has so many logical CPUs, and gives way to nobody."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "RAY_worker_niceness": "0",
        "RAY_OVERRIDE_RESOURCES": f'{{"CPU": {slots}}}',
        "PYTHONPATH": str(ROOT),
    }


def run(folder: Path, *, slots: int, every: int = 100, **study: object) -> Run:
    """Run a sleeping study in a store of its own below ``folder``.

    Args:
        folder: Empty.
        slots: Trials at once.
        every: The driver's memory is looked at whenever so many trials have ended.
        study: In place of `DEFAULTS`. A real ``student``, images of a real ``size`` and ``seconds`` of 0 make trials
            that compute.
    """
    (folder / "study.yaml").write_text(STUDY.format(**{**DEFAULTS, **study}))
    command = [sys.executable, "-m", "kdstudy", "run", str(folder / "study.yaml"), "--store", str(folder / "store")]
    began = time.time()
    memory: dict[int, int] = {}
    first_busy, busy, lines = 0.0, 0.0, list[str]()
    with subprocess.Popen(
        [*command, "--allow-plugin", "benchmarks"],
        cwd=ROOT,
        env=environment(slots),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as driver:
        assert driver.stderr is not None
        for line in driver.stderr:
            lines.append(line)
            if found := re.match(r"\[(\d+)/", line):
                ended, busy = int(found[1]), _cpu_seconds(driver.pid)
                if ended % every == 0 or ended == 1:
                    memory[ended] = _resident(driver.pid)
                    first_busy = first_busy or busy
    if driver.returncode not in (0, 4):  # 4: MLflow lags behind
        raise RuntimeError("".join(lines[-20:]))
    gone = time.time()
    with Ledger.open(f"sqlite:///{folder / 'store' / 'ledger.db'}") as ledger:
        (study_id,) = [summary.id for summary in ledger.summaries()]
        trials = ledger.trials(study_id)
        used = {ledger.epochs(study_id, trial.number)[0].terms["process"] for trial in trials}
    first = min(trial.started.timestamp() for trial in trials if trial.started)
    last = max(trial.finished.timestamp() for trial in trials if trial.finished)
    return Run(len(trials), first - began, last - first, gone - last, len(used), memory, busy - first_busy)


def _resident(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
