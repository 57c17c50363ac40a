"""Small trials for the tests, built through the study file like any other."""

from __future__ import annotations

import copy
import functools

import torch
from torch import nn

from kdstudy.models import build_model
from kdstudy.study import TrialConfig, parse_study
from kdstudy.trial import dataset_of

TEXT = """
name: tiny
seed: 3
data: {{name: synthetic, val_fraction: 0.25}}
teacher: {{model: resnet8, epochs: 1}}
student: {{model: resnet8}}
train: {{epochs: {epochs}, batch_size: 32, base_lr: {base_lr}}}
arms:
  transfers: [{transfer}]
  policies: [{policy}]
search: {{trials_per_arm: 1}}
confirm: {{seeds: 0}}
"""


def trial_config(
    transfer: str = "attention",
    policy: str = "constant",
    *,
    epochs: int = 3,
    base_lr: float = 0.05,
    data_seed: int = 11,
    init_seed: int = 12,
) -> TrialConfig:
    """Return a trial; ``transfer`` and ``policy`` are YAML of one plug-in."""
    study = parse_study(TEXT.format(transfer=transfer, policy=policy, epochs=epochs, base_lr=base_lr), "tiny.yaml")
    return study.config(study.arms[0].name, {}, data_seed=data_seed, init_seed=init_seed)


def fresh_teacher() -> nn.Module:
    """Return an untrained teacher with settled BatchNorm statistics, the caller's own."""
    return copy.deepcopy(_settled())


@functools.cache
def _settled() -> nn.Module:
    data = dataset_of(trial_config(), with_test=False)
    module = build_model(
        "resnet8", {}, num_classes=data.num_classes, image_shape=data.image_shape, mean=data.mean, std=data.std, seed=99
    )
    module.train()
    with torch.no_grad():
        for _ in range(20):
            module(data.train.images[:64].float() / 255)
    return module.eval()
