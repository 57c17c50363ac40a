"""A checked study as a record holds it: read back without asking a plug-in, and refused where it is damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdstudy.errors import PluginError, StudyError
from kdstudy.ledger import StudyRecord
from kdstudy.study import ArmId, PluginSpec, Study, TrialConfig, flatten, load_study, parse_study, require_plugins
from kdstudy.study.space import Choice, Int
from tests.shipped import STUDIES as STUDY_FILES
from tests.shipped import modules_of
from tests.study.files import STUDY, spoilt

SHIPPED = {path.stem: load_study(path) for path in sorted(STUDY_FILES.glob("*.yaml")) if not modules_of(path)}
TRAIN = "  base_lr: {log: [0.01, 0.3]}\n"
RICH = parse_study(
    spoilt("- none", "- kd: {label: soft, temperature: {uniform: [1, 4]}}").replace(
        TRAIN, TRAIN + "  weight_decay: {int: [0, 3]}\n"
    )
)
BUDGETS = {
    f"{size} {kind}": parse_study(spoilt("trials_per_arm: 6", f"budget: {{{kind}: {size}}}"))
    for kind, size in (("trials", 80), ("hours", 2.5))
}
RECIPE = "[flip, {rand_augment: {magnitude: 12}}, {random_erasing: {scale: [0.1, 0.2]}}, flip]"
AUGMENTED = parse_study(STUDY.replace("data: {", f"data: {{augment: {RECIPE}, ", 1))
STUDIES = {**SHIPPED, "example": parse_study(STUDY), "rich": RICH, "augmented": AUGMENTED, **BUDGETS}

shares = st.lists(st.floats(0, 1, exclude_max=True), min_size=20, max_size=20)
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def drawn(study: Study, arm: str, where: list[float]) -> dict[str, Any]:
    space = study.space(arm)
    assert len(space) <= len(where)
    return {path: span.at(u) for (path, span), u in zip(space.items(), where, strict=False)}


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_there_and_back_in_a_record(study: Study) -> None:
    written = json.loads(json.dumps(study.to_json()))
    back = Study.from_json(written)
    assert back == study
    assert back.to_json() == study.to_json()
    assert [list(back.space(arm)) for arm in study.arms] == [list(study.space(arm)) for arm in study.arms]
    assert back.text == study.text


@unhurried
@given(st.sampled_from(sorted(STUDIES)), shares, st.data())
def test_a_study_that_was_recorded_gives_the_same_trials(name: str, where: list[float], data: st.DataObject) -> None:
    study = STUDIES[name]
    arm = data.draw(st.sampled_from([arm.name for arm in study.arms]))
    values = drawn(study, arm, where)
    config = study.config(arm, values, data_seed=1, init_seed=2)
    back = Study.from_json(json.loads(json.dumps(study.to_json())))
    again = back.config(arm, json.loads(json.dumps(values)), data_seed=1, init_seed=2)
    assert again == config
    assert json.dumps(again.to_json()) == json.dumps(config.to_json())


@unhurried
@given(st.sampled_from(sorted(STUDIES)), shares, st.data())
def test_a_trial_is_what_its_own_study_file_says(name: str, where: list[float], data: st.DataObject) -> None:
    study = STUDIES[name]
    arm = data.draw(st.sampled_from([arm.name for arm in study.arms]))
    config = study.config(arm, drawn(study, arm, where), data_seed=1, init_seed=2)
    own = parse_study(config.to_yaml()).config(arm, {}, data_seed=1, init_seed=2)
    assert own == config
    assert json.dumps(own.to_json()) == json.dumps(config.to_json()), "2.0 is not 2"
    assert TrialConfig.from_json(config.to_json()) == TrialConfig.validated(config.to_json()) == config


@unhurried
@given(st.sampled_from(sorted(STUDIES)), shares, st.data())
def test_every_searched_value_stands_at_its_path(name: str, where: list[float], data: st.DataObject) -> None:
    study = STUDIES[name]
    arm = data.draw(st.sampled_from([arm.name for arm in study.arms]))
    values = drawn(study, arm, where)
    flat = flatten(study.config(arm, values, data_seed=1, init_seed=2))
    for path, span in study.space(arm).items():
        found = span.fill(values[path])
        assert flat[path] == (found.name if isinstance(found, PluginSpec) else found)
    assert (flat["transfer"], flat["policy"]) == ArmId.parse(arm)


def test_what_a_range_fills_in_is_known_without_its_plug_in() -> None:
    space = Study.from_json(RICH.to_json()).space("soft/constant")
    models, decay = space["student.model"], space["train.weight_decay"]
    assert isinstance(models, Choice)
    assert models.filled == (PluginSpec("resnet8", {"shortcut": "B"}), PluginSpec("resnet14", {"shortcut": "A"}))
    assert models.fill({"resnet14": {"shortcut": "A"}}) == PluginSpec("resnet14", {"shortcut": "A"})
    assert decay == Int(0, 3, real=True)
    assert repr(decay.fill(2)) == "2.0"


POLICIES = """
    - layerwise: {interval: 2}
    - walk: {interval: 2, normalise: true}
    - decay: {normalise: {choice: [true, false]}}
    - replay: {multipliers: [[1.0, 2.0]], interval: 3}
"""
OF_THEN = spoilt("    - layerwise: {interval: {int: [1, 3]}, gain: {uniform: [-0.5, 0.5]}}\n", POLICIES.lstrip("\n"))


def normalise_of(study: Study) -> dict[str, Any]:
    return {arm.policy.name: arm.policy.options["normalise"] for arm in study.arms[:5] if arm.policy.options}


def test_a_record_of_a_study_file_alone_means_what_it_meant() -> None:
    study = StudyRecord(id="old-1", name="example", seed=3, text=OF_THEN).study()
    then = {"layerwise": True, "walk": True, "decay": Choice((True, False)), "replay": "off"}
    assert normalise_of(study) == then, "what was silent took the default of then"
    assert normalise_of(Study.from_json(json.loads(json.dumps(study.to_json())))) == then
    with pytest.raises(StudyError) as refused:
        parse_study(OF_THEN)
    walk, *decay = (problem.partition(": ")[2] for problem in refused.value.problems)
    assert walk.startswith(
        "arms.policies.walk.normalise: earlier versions alone wrote it so, got true; write parameters"
    )
    assert len(decay) == 2 and all(problem.startswith("arms.policies.decay.normalise: in the ra") for problem in decay)


def test_a_trial_that_was_recorded_keeps_the_values_of_then_and_a_silent_one_takes_todays() -> None:
    study = parse_study(STUDY)
    config = study.corner(study.arm("attention/layerwise"), 0).to_json()
    for value in (True, False, "layers"):
        policy = {"layerwise": {**config["policy"]["layerwise"], "normalise": value}}
        for read in (TrialConfig.from_json, TrialConfig.validated):
            assert read({**config, "policy": policy}).to_json()["policy"] == policy
    assert TrialConfig.validated({**config, "policy": "layerwise"}).policy.options["normalise"] == "parameters"
    with pytest.raises(StudyError, match="normalise: must be"):
        TrialConfig.validated({**config, "policy": {"layerwise": {"normalise": 1}}})


def test_seeds_are_counted_from_zero() -> None:
    arm = RICH.arms[0].name
    values = {path: span.ends()[0] for path, span in RICH.space(arm).items()}
    with pytest.raises(StudyError, match="a seed must be greater than or equal to 0, got -1"):
        RICH.config(arm, values, data_seed=-1, init_seed=0)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("text",), 5, "study: text: must be the study file"),
        (("seed",), "x", "study: seed: must be a whole number"),
        (("train", "epochs"), 0, "study: train.epochs: must be greater than or equal to 1, got 0"),
        (("train", "base_lr", "of"), [0.3, 0.1], "study: train.base_lr: the low end must come first"),
        (("train", "base_lr", "of"), [0.1], "study: train.base_lr: is not what kdstudy writes"),
        (("train", "base_lr", "range"), "normal", "study: train.base_lr: is not what kdstudy writes"),
        (("train",), [], "study: train: must be a section of keys"),
        (("arms", "transfers", 0), {"plugin": 3}, "study: arms.transfers: is not what kdstudy writes"),
        (("student", "model", "filled"), [], "study: student.model: is not what kdstudy writes"),
        (("search", "trials_per_arm"), None, "study: search: needs trials_per_arm or budget, got neither"),
        (("extra",), 1, "study: extra: unknown key"),
        (("resources", "gpus"), 1.5, "study: resources.gpus: must be a whole number, or a share below 1"),
    ],
)
def test_a_damaged_record_is_refused(path: tuple[Any, ...], value: Any, told: str) -> None:
    written = json.loads(json.dumps(parse_study(STUDY).to_json()))
    tree = written
    for step in path[:-1]:
        tree = tree[step]
    tree[path[-1]] = value
    with pytest.raises(StudyError) as caught:
        Study.from_json(written)
    assert any(problem.startswith(told) for problem in caught.value.problems), caught.value.problems


def test_a_record_of_several_gpus_for_a_trial_is_read_though_no_study_file_may_ask_for_them() -> None:
    text = STUDY + "resources: {gpus: 2}\n"
    assert parse_study(text, recorded=True).resources.gpus == 2  # kept as text alone, by early versions
    with pytest.raises(StudyError, match=r"resources\.gpus: one rank of a trial trains on one GPU at most"):
        parse_study(text)
    written = json.loads(json.dumps(parse_study(STUDY).to_json()))
    written["resources"]["gpus"] = 2
    assert Study.from_json(written).resources.gpus == 2


def test_only_plug_ins_of_the_users_own_are_asked_for() -> None:
    written = RICH.to_json()
    require_plugins(Study.from_json(written))
    written["arms"]["policies"][0]["plugin"] = "no_such_package:Policy"
    study = Study.from_json(written)
    assert ("policy", "no_such_package:Policy") in study.plugins()
    with pytest.raises(PluginError, match="'no_such_package:Policy' is code outside kdstudy"):
        require_plugins(study)


def test_a_recorded_study_is_read_without_torch(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(json.dumps(RICH.to_json()))
    code = (
        "import json, sys; from kdstudy.study import Study, flatten; "
        "study = Study.from_json(json.load(open('study.json'))); space = study.space(study.arms[0]); "
        "values = {path: span.at(0.5) for path, span in space.items()}; "
        "flatten(study.config(study.arms[0].name, values, data_seed=0, init_seed=0)); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("name", ["", "kd", "/constant", "kd/"])
def test_an_arm_is_called_after_both(name: str) -> None:
    assert ArmId.parse("a/b/c") == ArmId("a", "b/c") == ("a", "b/c")
    with pytest.raises(ValueError, match="transfer/policy"):
        ArmId.parse(name)
