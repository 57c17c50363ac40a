"""Trials without holes: filled from a study, and there and back through JSON and YAML."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdstudy.errors import StudyError
from kdstudy.study import PluginSpec, TrialConfig, parse_study
from kdstudy.study.space import Choice, Int, Log, Uniform
from tests.study.files import STUDY

STUDIES = parse_study(STUDY)
ARMS = [arm.name for arm in STUDIES.arms]


def filled(arm: str, shares: list[float], **seeds: int) -> TrialConfig:
    space = STUDIES.space(arm)
    values = {path: span.at(u) for (path, span), u in zip(space.items(), shares, strict=False)}
    return STUDIES.config(arm, json.loads(json.dumps(values)), **({"data_seed": 1, "init_seed": 2} | seeds))


shares_of_nine = st.lists(st.floats(0, 1, exclude_max=True), min_size=9, max_size=9)
trials = st.builds(
    filled,
    st.sampled_from(ARMS),
    shares_of_nine,
    data_seed=st.integers(0, 2**53 - 1),
    init_seed=st.integers(0, 2**53 - 1),
)


def holes(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(holes, value.values()))
    if isinstance(value, list):
        return any(map(holes, value))
    return isinstance(value, Uniform | Log | Int | Choice)


@given(trials)
def test_values_from_anywhere_in_the_space_make_a_trial_without_holes(config: TrialConfig) -> None:
    assert not holes(config.to_json())
    assert config.split_seed == STUDIES.seed
    assert config.train.epochs in (4, 5, 6) and 0.01 <= config.train.base_lr <= 0.3
    assert config.train.schedule.options["milestones"] == [2, 3]


@given(trials)
def test_there_and_back_through_json(config: TrialConfig) -> None:
    assert TrialConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@given(trials)
def test_there_and_back_through_a_study_file(config: TrialConfig) -> None:
    study = parse_study(config.to_yaml())
    assert [arm.name for arm in study.arms] == [config.arm] and study.space(config.arm) == {}
    seeds = {"data_seed": config.data_seed, "init_seed": config.init_seed}
    assert study.config(config.arm, {}, **seeds) == config


def test_fills_each_kind_of_hole() -> None:
    config = filled("attention/layerwise", [0.9, 0.5, 0.0, 0.0, 0.5, 0.0, 0.99, 0.25])
    assert config.student.model == PluginSpec("resnet14", {"shortcut": "A"})
    assert (config.train.epochs, config.train.batch_size, config.train.base_lr) == (5, 32, 0.01)
    assert config.train.schedule == PluginSpec("multistep", {"milestones": [2, 3], "gamma": 0.3})
    assert config.transfer.options["weight"] == 1.0
    assert (config.policy.options["interval"], config.policy.options["gain"]) == (3, -0.25)
    assert (config.arm, config.data_seed, config.init_seed) == ("attention/layerwise", 1, 2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train.base_lr": None}, 'outside its range, got null; take one of {"log": [0.01, 0.3]}'),
        ({"train.base_lr": 0.5}, "outside its range, got 0.5"),
        ({"train.epochs": 4.0}, "outside its range, got 4.0"),
        ({"train.momentum": 0.5}, "train.momentum: not searched in this arm, got 0.5; leave it out"),
        ({"train.epochs": ...}, 'train.epochs: no value given; give one of {"int": [4, 6]}'),
    ],
)
def test_refuses_values_that_do_not_fill_the_holes(change: dict[str, Any], told: str) -> None:
    values = {path: span.at(0.5) for path, span in STUDIES.space("none/constant").items()} | change
    values = {path: value for path, value in values.items() if value is not ...}
    with pytest.raises(StudyError, match="example, arm none/constant: ") as caught:
        STUDIES.config("none/constant", values, data_seed=0, init_seed=0)
    assert told in str(caught.value) and len(caught.value.problems) == 1


def test_unknown_arms_are_named_with_the_known_ones() -> None:
    with pytest.raises(StudyError, match=r"no arm is called 'a/b'; choose from attention/constant, "):
        STUDIES.space("a/b")


def test_a_record_is_checked_when_it_is_read() -> None:
    values = filled("none/constant", [0.0] * 9).to_json()
    values["train"]["base_lr"] = {"log": [0.1, 0.2]}
    values["train"]["epochs"] = 0
    with pytest.raises(StudyError) as caught:
        TrialConfig.from_json(values)
    with pytest.raises(StudyError, match=r"trial: train\.base_lr: a resolved trial holds no range"):
        TrialConfig.validated(values)
    assert [problem.split(": ")[:2] for problem in caught.value.problems] == [
        ["trial", "train.epochs"],
        ["trial", "train.base_lr"],
    ]


def test_a_record_that_lacks_what_was_added_later_takes_defaults() -> None:
    values = filled("none/constant", [0.0] * 9).to_json()
    expected = TrialConfig.from_json(values)
    del values["train"]["nesterov"], values["resources"]["max_failures"]
    assert TrialConfig.from_json(values) == expected
    del values["data"]["options"]
    assert TrialConfig.validated(values) == expected, "what a plug-in declares as well, once it is asked"


def test_defaults_are_never_shared() -> None:
    first, second = (parse_study(STUDY) for _ in range(2))
    first.teacher.key_map["a"] = "b"
    assert second.teacher.key_map == {} and parse_study(STUDY).teacher.key_map == {}
