"""A study of seconds, as text to spoil, and what its preparation on a node tells; nothing of it is searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdstudy.cluster.prepare import ImagesToVerify, prepare_in_worker
from kdstudy.storage import DiskFolder
from kdstudy.study import parse_study

TINY = """\
name: tiny
data: {name: synthetic, val_fraction: 0.25}
teacher: {model: resnet8, epochs: 1}
student: {model: resnet8}
train: {epochs: 2, batch_size: 32, base_lr: 0.1}
arms:
  transfers: [none, attention]
  policies: [constant]
search: {sampler: random, trials_per_arm: 1}
"""


def prepared(text: str, folder: Path) -> dict[str, Any]:
    """Prepare a new study, whose teachers lie in ``folder``, as a node does."""
    study = parse_study(text)
    configs = [study.corner(arm, 0).to_json() for arm in study.arms]
    return prepare_in_worker(configs, DiskFolder(folder), None, ImagesToVerify(1))
