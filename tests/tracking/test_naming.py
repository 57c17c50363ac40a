"""What MLflow is told of a trial's configuration: every value once, under the study file's name for it."""

from __future__ import annotations

import json
from collections import Counter

from kdstudy.ledger import TrialRecord
from kdstudy.study import ArmId, arm_colours, parse_study
from kdstudy.tracking.naming import comparison_points, run_colour, run_name, trial_params, trial_tags
from tests.tracking.records import START, make_study, make_trial

STUDY = """
name: labelled
seed: 5
data: {name: synthetic, val_fraction: 0.375}
teacher: {model: {resnet14: {shortcut: A}}, epochs: 17, key_map: {linear: fc}}
student: {model: {choice: [{resnet8: {shortcut: A}}, resnet20]}}
train:
  epochs: {int: [21, 31]}
  batch_size: 37
  base_lr: {log: [0.012, 1.1]}
  schedule: {multistep: {milestones: [3, 5], gamma: 0.7}}
arms:
  transfers: [{attention: {label: strong, weight: {log: [12.5, 100]}}}, {attention: {label: weak, weight: 0.125}}, kd]
  policies: [{layerwise: {label: eager, interval: {int: [1, 4]}, gain: 0.0625}}, constant]
search: {trials_per_arm: 1}
layers: [[layer2, layer3]]
"""


def labelled() -> TrialRecord:
    study = parse_study(STUDY)
    values = {path: span.ends()[0] for path, span in study.space("strong/eager").items()}
    config = study.config("strong/eager", values, data_seed=101, init_seed=102)
    return make_trial(arm_id=ArmId("strong", "eager"), values=values, config=config.to_json())


def test_a_labelled_variant_has_every_value_once_under_its_label() -> None:
    params = trial_params(labelled())
    told = Counter(params.values())
    own = {
        "12.5": "arms.transfers.strong.weight",
        "0.0625": "arms.policies.eager.gain",
        "attention": "arms.transfers.strong",
        "layerwise": "arms.policies.eager",
        "strong": "transfer",
        "eager": "policy",
        "0.375": "data.val_fraction",
        "resnet14": "teacher.model",
        "17": "teacher.epochs",
        "fc": "teacher.key_map.linear",
        "resnet8": "student.model",
        "21": "train.epochs",
        "37": "train.batch_size",
        "0.012": "train.base_lr",
        "multistep": "train.schedule",
        "[3, 5]": "train.schedule.multistep.milestones",
        "0.7": "train.schedule.multistep.gamma",
        '[["layer2", "layer3"]]': "layers",
        "101": "data_seed",
        "102": "init_seed",
        "5": "split_seed",
    }
    assert {value: told[value] for value in own} == dict.fromkeys(own, 1)
    assert {value: params[name] for value, name in own.items()} == {value: value for value in own}
    assert params["student.model.resnet8.shortcut"] == params["teacher.model.resnet14.shortcut"] == "A"
    assert told["A"] == 2
    assert not [name for name in params if ".attention" in name or ".layerwise" in name or name.endswith("label")]


def test_every_searched_value_is_a_parameter_of_its_path() -> None:
    trial = labelled()
    params = trial_params(trial)
    assert {path: params[path] for path in trial.values if path != "student.model"} == {
        path: json.dumps(value) for path, value in trial.values.items() if path != "student.model"
    }


def test_names_without_labels_are_those_of_the_study_file() -> None:
    params = trial_params(make_trial())
    assert (params["transfer"], params["policy"]) == ("attention", "layerwise")
    assert params["arms.transfers.attention.weight"] == "100.0"
    assert params["arms.policies.layerwise.momentum"] == "0.5"
    assert params["student.model.resnet8.shortcut"] == "A"
    assert params["train.schedule"] == "cosine"
    assert "arms.transfers.attention" not in params
    assert not [name for name in params if name.startswith(("name", "resources", "data.root", "data.options"))]


def test_a_run_is_called_by_its_arm_and_what_tells_it_from_the_others() -> None:
    assert run_name(make_trial(number=203, search=2)) == "attention/layerwise #203"
    seeds = [make_trial(phase="confirm", search=search, index=index) for search in (0, 2) for index in (0, 1)]
    names = ["search 0 seed 0", "search 0 seed 1", "search 2 seed 0", "search 2 seed 1"]
    assert [run_name(trial) for trial in seeds] == [f"attention/layerwise {name}" for name in names]


def test_runs_have_the_colour_of_their_arm() -> None:
    study, colours = make_study(), arm_colours(["attention/constant", "attention/layerwise"])
    for policy in ("constant", "layerwise"):
        arm = ArmId("attention", policy)
        assert run_colour(study, make_trial(arm_id=arm)) == colours[arm.name][0]
    assert run_colour(study, make_trial()) != run_colour(study, make_trial(arm_id=ArmId("attention", "constant")))


def test_runs_are_found_and_grouped_by_search() -> None:
    tags = trial_tags(make_trial(phase="confirm", search=2, index=1, exploratory=True))
    assert (tags["search"], tags["phase"], tags["arm"]) == ("2", "confirm", "attention/layerwise")
    assert tags["exploratory"] == "true"
    assert trial_tags(make_trial())["search"] == "0"


def test_verdicts_are_metrics_of_the_study_each_under_what_it_compares() -> None:
    row = {
        **{"transfer": "attention", "treatment": "layerwise", "baseline": "constant", "family": "study"},
        **{"searches": 5, "searches_won": 4, "difference": 0.02, "ci_low": -0.01, "ci_high": 0.05},
        **{"p_adjusted": 0.04, "p_no_difference_adjusted": None, "search_share": 0.5},
        **{"baseline_mean": 0.9, "treatment_mean": 0.92, "verdict": "better"},
    }
    others = [{**row, "baseline": "decay"}, {**row, "baseline": "none/constant"}, {**row, "family": "exploratory"}]
    found = comparison_points(make_study(), {"comparisons": [row, *others]})
    moment = round(START.timestamp() * 1000)
    groups = ["attention layerwise", "attention layerwise against decay", "attention layerwise against none constant"]
    told = {name: row[name] for name in row if isinstance(row[name], float | int)}
    assert {(point.name, point.value) for point in found} == {
        (f"verdict/{group}/{name}", value) for group in groups for name, value in told.items()
    }
    assert {(point.step, point.milliseconds) for point in found} == {(0, moment)}
    assert comparison_points(make_study(), {}) == []
