"""``data.augment``: true, false, or a list of augmentations with their options, each problem in its line."""

from __future__ import annotations

import pytest

from kdstudy.errors import StudyError
from kdstudy.study import PluginSpec, TrialConfig, parse_study
from tests.study.files import STUDY


def augmented(augment: str) -> str:
    return STUDY.replace("data: {", f"data: {{augment: {augment}, ", 1)


@pytest.mark.parametrize("switch", [True, False])
def test_true_and_false_mean_what_they_meant(switch: bool) -> None:
    study = parse_study(augmented(str(switch).lower()))
    assert (study.data.augment, study.data.augmentations) == (switch, ())
    assert parse_study(STUDY).data.augment is True


def test_a_list_holds_every_option_and_one_augmentation_may_stand_twice() -> None:
    study = parse_study(augmented("[{random_resized_crop: {scale: [0.25, 1]}}, flip, {flip: {p: 0.1}}]"))
    crop = PluginSpec("random_resized_crop", {"scale": [0.25, 1.0], "ratio": [3 / 4, 4 / 3]})
    assert study.data.augmentations == (crop, PluginSpec("flip", {"p": 0.5}), PluginSpec("flip", {"p": 0.1}))
    assert {("augmentation", "flip"), ("augmentation", "random_resized_crop")} <= {*study.plugins()}
    trial = study.corner(study.arms[0], 0)
    assert TrialConfig.from_json(trial.to_json()) == trial == TrialConfig.validated(trial.to_json())
    assert parse_study(trial.to_yaml()).data == study.data


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ("rand_augment", "data.augment: must be true, false or a list of at least one augmentation, got"),
        ("[]", "data.augment: must be true, false or a list of at least one augmentation, got"),
        ("1", "data.augment: must be true, false or a list of at least one augmentation, got 1"),
        ("[rand_augmnt]", "no augmentation is called 'rand_augmnt'; did you mean 'rand_augment'"),
        ("[{rand_augment: {magnitude: 31}}]", "magnitude: must be less than or equal to 30, got 31"),
        ("[{rand_augment: {magnitud: 3}}]", "did you mean 'magnitude'"),
        ("[{random_resized_crop: {scale: [0, 1]}}]", "scale: must be greater than 0, got [0, 1]"),
        ("[{random_resized_crop: {scale: [0.1]}}]", "scale: must have more items, got [0.1]"),
        ("[{color_jitter: {hue: 0.6}}]", "hue: must be less than or equal to 0.5, got 0.6"),
        ("{choice: [true, false]}", "data.augment: must be one value for the whole study, got the range"),
        ("[{choice: [flip, rand_augment]}]", "every augmentation listed is applied, none is drawn"),
        ("[{flip: {p: {uniform: [0, 1]}}}]", "p: must be one value for the whole study, got the range"),
        ("[{flip: {label: mine}}]", "label"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_at_its_place(augment: str, message: str) -> None:
    with pytest.raises(StudyError) as error:
        parse_study(augmented(augment), "x.yaml")
    (problem,) = error.value.problems
    assert message in problem
    assert "data.augment" in problem
    assert "\n" not in problem
