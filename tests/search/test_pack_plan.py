"""How many trials train in one process, decided from the study file and what the cache keeps."""

from __future__ import annotations

import pytest

from kdstudy.search.cache_plan import CachePlan, Keep
from kdstudy.search.pack_plan import PackPlan
from kdstudy.study import Study, parse_study

TEXT = """
name: packing
data: {{name: synthetic}}
teacher: {{model: resnet8, epochs: 1}}
student: {{model: {student}}}
train: {{epochs: 4, batch_size: {batch_size}, base_lr: {{log: [0.01, 1.0]}}}}
arms:
  transfers: [attention, fitnet, none]
  policies: [constant]
search: {{{search}}}
resources: {{pack: {pack}}}
cache: {{{cache}}}
"""
KEEP = Keep(1000, ("weight", "kd_weight", "temperature"))


def packing_of(capacity: int = 2, **options: str) -> tuple[Study, PackPlan]:
    filled = {"student": "resnet8", "batch_size": "32", "search": "trials_per_arm: 8", "pack": "auto", "cache": ""}
    study = parse_study(TEXT.format(**{**filled, **options}), "packing.yaml")
    keeps = [KEEP if arm.transfer.name == "attention" and study.cache.mode != "off" else None for arm in study.arms]
    return study, PackPlan(study, CachePlan(study, keeps, [True, True, False]), capacity)


@pytest.mark.parametrize(
    ("options", "most", "lag"),
    [
        ({"pack": "off"}, (1, 1, 1), 1),
        ({}, (1, 4, 1), 4),  # attention's outputs are kept
        ({"cache": "mode: off"}, (4, 4, 1), 4),
        ({"cache": "mode: schedule, max_bytes: 10"}, (4, 4, 1), 4),
        ({"cache": "mode: off", "search": "trials_per_arm: 3"}, (3, 3, 1), 3),
        ({"pack": "6"}, (6, 6, 6), 6),
        ({"pack": "6", "batch_size": "{choice: [32, 64]}"}, (1, 1, 1), 1),
        ({"pack": "6", "student": "{choice: [resnet8, resnet14]}"}, (1, 1, 1), 1),
        ({"search": "budget: {hours: 1}"}, (1, 4, 1), 4),
    ],
)
def test_packs_are_made_where_they_save_something(options: dict[str, str], most: tuple[int, ...], lag: int) -> None:
    _, packing = packing_of(**options)
    assert tuple(packing.most(transfer) for transfer in ("attention", "fitnet", "none")) == most
    assert packing.lag == lag


def test_no_slot_stands_empty_for_a_pack_and_packs_have_trials_enough() -> None:
    _, packing = packing_of(capacity=12, cache="mode: off")
    assert packing.most("fitnet") == 2, "24 trials for 12 slots"
    assert packing.lag == 8, "of three arms, so that 12 processes have two trials each"
    assert packing_of(capacity=24, cache="mode: off")[1].most("fitnet") == 1


def test_what_was_decided_is_told_if_packs_were_asked_for() -> None:
    assert list(packing_of(pack="off")[1].summary_lines()) == []
    assert list(packing_of()[1].summary_lines()) == [
        "pack: attention: 1 trial per process, since there is no pass of the teacher to share",
        "pack: fitnet: 4 trials per process, with one teacher pass per step",
        "pack: none: 1 trial per process, since there is no pass of the teacher to share",
    ]
