"""What a part of the measurements is given, and where its rows go: each is kept as soon as it is measured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kdstudy.study import TrialConfig, parse_study

STUDY = """
name: gpu
data:
  name: synthetic
  val_fraction: 0.25
  options: {{num_classes: {classes}, size: 32, channels: 3, count: {count}}}
teacher: {{model: {teacher}, epochs: 1}}
student: {{model: {student}}}
train: {{epochs: {epochs}, batch_size: {batch}, base_lr: 0.05}}
arms: {{transfers: [{transfer}], policies: [constant]}}
search: {{trials_per_arm: 1, sampler: random}}
resources: {{gpus: {gpus}, pack: auto}}
numerics: {numerics}
cache: {{mode: "off"}}
"""


class SkipPartError(Exception):
    """A part cannot be had here: why."""


class OutOfTimeError(Exception):
    """A part's time is up; what is measured is kept, and the next run goes on from there."""


@dataclass(frozen=True)
class Job:
    """One part, on one device.

    Args:
        part: Its name.
        device: Where it measures; on a CPU everything is small, to try the script out.
        out: Folder of the results.
        seconds: It may take.
        data: Folder of data sets, if there is one.
    """

    part: str
    device: torch.device
    out: Path
    seconds: float
    data: Path | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def small(self) -> bool:
        """Whether sizes are those of a trial run on a CPU."""
        return self.device.type == "cpu"

    @property
    def path(self) -> Path:
        """The file of its rows."""
        return self.out / f"{self.part}.jsonl"

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows kept so far; a last line that was cut short is left out."""
        return read_rows(self.path)

    def measure(self, key: str, how: Callable[[], dict[str, Any]]) -> None:
        """Keep the row called ``key``, unless it is there; one that fails is a row too, with its error.

        Raises:
            OutOfTimeError: No time is left to begin it.
        """
        if any(row["what"] == key for row in self.rows()):
            return
        if time.monotonic() - self.began > self.seconds:
            raise OutOfTimeError
        try:
            row = how()
        except (torch.OutOfMemoryError, RuntimeError, AssertionError) as error:
            row = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        with self.path.open("a") as file:
            file.write("\n" + json.dumps({"what": key, **row}))  # on a line of its own, also after one cut short

    def wait(self) -> float:
        """Return the time in seconds, once the device has done what it was given."""
        if not self.small:
            torch.cuda.synchronize()
        return time.perf_counter()

    def trial(
        self,
        transfer: str = "kd",
        *,
        student: str = "resnet8",
        teacher: str = "resnet20",
        steps: int = 20,
        epochs: int = 1,
        batch: int = 64,
        numerics: str = "{}",
        seed: int = 1,
    ) -> TrialConfig:
        """Return a trial on made-up images of 3 x 32 x 32, with so many steps an epoch."""
        count = -(-steps * batch * 4 // 3)  # a quarter of them is for validation
        text = STUDY.format(
            **{"classes": 100 if count > 1000 else 10, "count": count, "teacher": teacher, "student": student},
            **{"epochs": epochs, "batch": batch, "transfer": transfer, "numerics": numerics},
            gpus=0 if self.small else 1,
        )
        study = parse_study(text)
        return study.config(study.arms[0].name, {}, data_seed=1, init_seed=seed)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file; none where it is not there, a cut line left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
