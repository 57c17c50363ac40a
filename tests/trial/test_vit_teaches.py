"""A DINOv2-shaped ViT teaches a resnet18: its blocks are paired, and the student's maps come to be like theirs."""

from __future__ import annotations

import importlib.util
import itertools

import pytest

from kdstudy.results import EpochRecord
from kdstudy.study import parse_study
from kdstudy.trial import dataset_of, run_trial, teacher_spec

EPOCHS = 5
TEXT = f"""
name: vit-teaches
data: {{name: synthetic, val_fraction: 0.25, options: {{size: 56, channels: 3, count: 64}}}}
teacher: {{model: {{timm: {{name: vit_small_patch14_dinov2, weights: none, size: 56}}}}, epochs: 1, allow_weak: true}}
student: {{model: tv_resnet18}}
train: {{epochs: {EPOCHS}, batch_size: 16, base_lr: 0.05}}
arms: {{transfers: [{{attention: {{weight: 30}}}}], policies: [constant]}}
search: {{trials_per_arm: 1, sampler: random}}
confirm: {{seeds: 0}}
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_a_small_patch14_teaches_a_resnet18() -> None:
    study = parse_study(TEXT, "vit.yaml")
    config = study.config(study.arms[0].name, {}, data_seed=1, init_seed=2)
    teacher = teacher_spec(config, dataset_of(config, with_test=False)).build(0)
    epochs: list[EpochRecord] = []
    run_trial(config, lambda epoch, _result: epochs.append(epoch), teacher=teacher)
    pairs = [[name for name in epoch.terms if name.startswith("attention/")] for epoch in epochs]
    assert len(pairs) == EPOCHS and len(pairs[0]) == 4
    losses = [sum(epoch.terms[name] or 0.0 for name in each) for epoch, each in zip(epochs, pairs, strict=True)]
    assert all(later < early for early, later in itertools.pairwise(losses)), losses
