"""A right study file for the tests to spoil."""

from __future__ import annotations

STUDY = """\
name: example
seed: 3
data: {name: digits, val_fraction: 0.2}
teacher: {model: resnet20, epochs: 4}
student:
  model: {choice: [resnet8, {resnet14: {shortcut: A}}]}
train:
  epochs: {int: [4, 6]}
  batch_size: {choice: [32, 64]}
  base_lr: {log: [0.01, 0.3]}
  schedule: {multistep: {milestones: [2, 3], gamma: {uniform: [0.1, 0.5]}}}
arms:
  transfers:
    - attention: {weight: {log: [1, 1000]}}
    - none
  policies:
    - constant
    - layerwise: {interval: {int: [1, 3]}, gain: {uniform: [-0.5, 0.5]}}
search: {sampler: tpe, trials_per_arm: 6}
confirm: {seeds: 2}
"""


def spoilt(old: str, new: str) -> str:
    assert STUDY.count(old) == 1, f"{old!r} stands {STUDY.count(old)} times"
    return STUDY.replace(old, new)
