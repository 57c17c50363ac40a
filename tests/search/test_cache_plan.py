"""What ``cache.mode: auto`` comes to, decided from the study file and the size of the outputs alone."""

from __future__ import annotations

import pytest

from kdstudy.search.cache_plan import CachePlan, Keep
from kdstudy.study import Study, parse_study

TEXT = """
name: sharing
data: {{name: synthetic}}
teacher: {{model: resnet8, epochs: 1}}
student: {{model: {student}}}
train: {{epochs: {{int: [2, 10]}}, batch_size: {batch_size}, base_lr: {{log: [0.01, 1.0]}}}}
arms:
  transfers: [{transfer}, fitnet]
  policies: [{policies}]
search: {{trials_per_arm: {trials}}}
cache: {{{cache}}}
"""
KEEP = Keep(1000, ("weight", "kd_weight", "temperature"), views=18)


def study_of(
    *,
    student: str = "resnet8",
    batch_size: str = "32",
    transfer: str = "{attention: {weight: {log: [1, 100]}}}",
    policies: str = "constant, decay",
    trials: int = 4,
    cache: str = "mode: auto",
) -> Study:
    return parse_study(
        TEXT.format(
            student=student, batch_size=batch_size, transfer=transfer, policies=policies, trials=trials, cache=cache
        )
    )


def test_variants_of_a_transfer_are_decided_one_by_one() -> None:
    study = study_of(transfer="attention, {attention: {label: squared, p: {int: [1, 3]}}}", trials=4)
    sharing = sharing_of(study)
    assert sharing.mode("attention", "search") == "schedule" and sharing.mode("squared", "search") == "off"
    assert any(
        line.startswith("cache: squared: off") and "arms.transfers.squared.p is searched" in line
        for line in sharing.summary_lines()
    )


def sharing_of(study: Study) -> CachePlan:
    return CachePlan(study, [KEEP if arm.transfer.name == "attention" else None for arm in study.arms])


def modes(study: Study) -> tuple[str, str]:
    sharing = sharing_of(study)
    assert sharing.mode("fitnet", "search") == sharing.mode("fitnet", "confirm")
    return sharing.mode("attention", "search"), sharing.mode("attention", "confirm")


def test_auto_shares_what_several_trials_would_compute() -> None:
    assert modes(study_of()) == ("schedule", "schedule")
    assert modes(study_of(policies="constant")) == ("schedule", "off"), "each confirmation seed has one trial only"
    assert modes(study_of(policies="constant", trials=1)) == ("off", "off")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"batch_size": "{choice: [32, 64]}"}, "train.batch_size is searched"),
        ({"student": "{choice: [resnet8, resnet14]}"}, "student.model is searched"),
        ({"transfer": "{attention: {p: {uniform: [1, 4]}}}"}, "arms.transfers.attention.p is searched"),
        ({"cache": "max_bytes: 9999"}, "10 kB do not fit in cache.max_bytes (10 kB)"),
        ({"cache": "dtype: float16"}, "auto never rounds"),
    ],
)
def test_auto_leaves_alone_what_would_not_pay_or_would_change_a_number(change: dict[str, str], why: str) -> None:
    study = study_of(**change)
    assert modes(study) == ("off", "off")
    attention, fitnet = sharing_of(study).summary_lines()
    assert attention.startswith("cache: attention: off: the teacher is run in every step, since ")
    assert why in attention
    assert fitnet.endswith("outputs of this method cannot be cached")


def test_ten_epochs_of_a_thousand_bytes_fit_exactly() -> None:
    assert modes(study_of(cache="max_bytes: 10000")) == ("schedule", "schedule")


@pytest.mark.parametrize("mode", ["off", "schedule", "all_views", "views"])
def test_a_mode_that_is_written_is_taken(mode: str) -> None:
    study = study_of(cache=f"mode: {mode}", policies="constant", trials=1)
    assert modes(study) == (mode, mode)
    config = study.config(
        "attention/constant",
        {"train.epochs": 4, "train.base_lr": 0.1, "arms.transfers.attention.weight": 2.0},
        data_seed=0,
        init_seed=0,
    )
    assert config.cache.mode == mode


def test_size_and_break_even_are_told() -> None:
    (line, _) = sharing_of(study_of()).summary_lines()
    assert line == (
        "cache: attention: schedule, 10 kB a data seed; the teacher runs once for 8 search trials "
        "and pays from the second on"
    )
    (line, _) = sharing_of(study_of(cache="mode: views, views: 3")).summary_lines()
    assert line == "cache: attention: views, 3 an image, 3 kB a data seed; pays from epoch 4 of a seed on"
    (line, _) = sharing_of(study_of(cache="mode: all_views")).summary_lines()
    assert line == (
        "cache: attention: all_views, 18 an image, 18 kB for any data seed; the teacher runs over all images 18 times "
        "in place of up to 140, and pays from epoch 19 of its trials on"
    )
    (line, _) = sharing_of(study_of(cache="mode: all_views, max_bytes: 17999")).summary_lines()
    assert "18 kB are above cache.max_bytes (18 kB)" in line
    modes = ("mode: schedule", "mode: views, views: 3", "mode: all_views")
    assert [sharing_of(study_of(cache=mode)).files for mode in modes] == [10, 3, 18]
    (line, other) = sharing_of(study_of(cache="mode: views, views: 3, max_bytes: 2000")).summary_lines()
    assert "3 kB are above cache.max_bytes (2 kB)" in line
    assert "on 3 views an image in turn" in other
    assert not list(sharing_of(study_of(cache="mode: off")).summary_lines())
