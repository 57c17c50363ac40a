"""Reading study files: what is read, and one line for everything that cannot be."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kdstudy.cli import cli
from kdstudy.errors import StudyError
from kdstudy.study import PluginSpec, Study, TrialConfig, load_study, parse_study
from kdstudy.study.fields import REGISTRIES
from kdstudy.study.other_names import OTHER_KEYS, OTHER_OPTIONS, key_paths
from kdstudy.study.range_notation import KINDS as RANGE_KINDS
from kdstudy.study.range_notation import OTHER_KINDS
from kdstudy.study.space import Choice, Int, Log, Uniform
from kdstudy.study.yaml_text import write_text
from tests.shipped import STUDIES, load_shipped, shipped
from tests.study.files import STUDY, spoilt


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(StudyError) as caught:
        parse_study(text, "x.yaml")
    return caught.value.problems


def test_reads_everything() -> None:
    study = parse_study(STUDY)
    assert (study.name, study.seed, study.text) == ("example", 3, STUDY)
    assert study.teacher.model == PluginSpec("resnet20", {"shortcut": "B"}) and study.teacher.epochs == 4
    assert [arm.name for arm in study.arms] == [
        "attention/constant",
        "attention/layerwise",
        "none/constant",
        "none/layerwise",
    ]
    assert (study.search.startup_trials, study.confirm.seeds, study.resources.max_failures) == (3, 2, 3)
    assert study.layers == "auto" and study.max_epochs == 6
    assert study.data.options == {"size": 8}


def test_space_is_ordered_and_keyed_by_path() -> None:
    study = parse_study(STUDY)
    assert study.space("attention/layerwise") == {
        "student.model": Choice(("resnet8", {"resnet14": {"shortcut": "A"}})),
        "train.epochs": Int(4, 6),
        "train.batch_size": Choice((32, 64)),
        "train.base_lr": Log(0.01, 0.3),
        "train.schedule.multistep.gamma": Uniform(0.1, 0.5),
        "arms.transfers.attention.weight": Log(1, 1000),
        "arms.policies.layerwise.interval": Int(1, 3),
        "arms.policies.layerwise.gain": Uniform(-0.5, 0.5),
    }
    shared = study.space(study.arms[2])
    assert list(shared) == list(study.space("attention/layerwise"))[:5]


def test_plugins_take_defaults_of_all_options() -> None:
    policy = parse_study(STUDY).arm("none/layerwise").policy
    assert policy.options["high"] == 4.0 and policy.options["signal"] == "relative"


VARIANTS = (
    "    - layerwise: {interval: {int: [1, 3]}, gain: {uniform: [-0.5, 0.5]}}",
    "    - layerwise: {interval: 2}\n    - layerwise: {label: reversed, gain: {uniform: [-0.5, 0]}, interval: 2}",
)


def test_variants_of_a_plugin_are_told_apart_by_their_labels() -> None:
    study = parse_study(spoilt(*VARIANTS).replace("- none", "- attention: {label: strong, weight: {log: [9, 99]}}"))
    assert [arm.name for arm in study.arms[:4]] == [
        "attention/constant",
        "attention/layerwise",
        "attention/reversed",
        "strong/constant",
    ]
    space = study.space("strong/reversed")
    assert space["arms.policies.reversed.gain"] == Uniform(-0.5, 0)
    assert space["arms.transfers.strong.weight"] == Log(9, 99) and len(space) == 7
    config = study.config(
        "strong/reversed", {path: span.at(0.5) for path, span in space.items()}, data_seed=0, init_seed=0
    )
    assert (config.arm, config.policy.name, config.policy.options["gain"]) == ("strong/reversed", "layerwise", -0.25)
    assert TrialConfig.from_json(config.to_json()) == config
    again = parse_study(config.to_yaml().replace("interval: 2", "interval: 1"))
    assert [arm.name for arm in again.arms] == ["strong/reversed"]


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("constant", 'no policy\'s name, got "constant"; write for example strong'),
        ("layerwise", 'no policy\'s name, got "layerwise"'),
        ("2nd", 'a letter first, and no policy\'s name, got "2nd"'),
        ("a/b", "must be letters, digits, _ and -"),
        ("[a]", 'got ["a"]'),
    ],
)
def test_labels_that_would_mislead(label: str, told: str) -> None:
    (problem,) = problems(spoilt("{interval: {int: [1, 3]}, gain", f"{{label: {label}, interval: 2, gain"))
    assert problem.startswith("x.yaml:18: arms.policies.layerwise.label: ") and told in problem


def test_problems_of_a_variant_name_it_and_its_line() -> None:
    text = spoilt(*VARIANTS)
    assert problems(text.replace("0]}, interval: 2", "0]}, interval: 9")) == (
        "x.yaml:19: arms.policies.reversed.interval: no update would ever happen in 4 epoch(s), got 9; choose an "
        "interval below the number of epochs",
    )
    (problem,) = problems(text.replace("label: reversed, ", ""))
    assert "may stand only once, got 'layerwise' again; remove it, or write {layerwise: {label: variant}}" in problem
    (problem,) = problems(spoilt("model: resnet20", "model: {resnet20: {label: x}}"))
    assert "teacher.model.resnet20.label: unknown option" in problem


@pytest.mark.parametrize("name", ["quickstart.yaml", "smoke.yaml"])
def test_shipped_studies_are_right(name: str) -> None:
    study = load_study(STUDIES / name)
    assert study.name == f"digits-{name.removesuffix('.yaml')}"
    assert {"constant", "layerwise"} <= {arm.policy.name for arm in study.arms}


EARLIER = "gain: {uniform: [-0.5, 0.5]}, normalise: "
CASES = [
    # what is replaced, by what, line, field, hint
    (
        EARLIER.partition(", n")[0],
        EARLIER + "true",
        *(18, "arms.policies.layerwise.normalise", "earlier versions alone wrote it so, got true; write parameters"),
    ),
    (
        EARLIER.partition(", n")[0],
        EARLIER + "maen",
        18,
        "arms.policies.layerwise.normalise",
        "must be 'parameters', 'la",
    ),
    (
        EARLIER.partition(", n")[0],
        EARLIER + "{choice: [true, layers]}",
        *(18, "arms.policies.layerwise.normalise", "in the range: must be 'parameters', 'layers' or 'off', got true"),
    ),
    ("name: example", "name: my study", 1, "name", 'got "my study"; write for example my-study'),
    ("name: example", "name: 5", 1, "name", "must be text, got 5; write it in quotes"),
    ("seed: 3", "seed: -1", 2, "seed", "must be greater than or equal to 0, got -1; leave it out for 0"),
    ("seed: 3", "seeed: 3", 2, "seeed", "unknown key; did you mean 'seed'?"),
    ("seed: 3", "seed: 3\nseed: 4", 3, "seed", "a key may stand only once, got it again after line 2"),
    ("seed: 3", "seed: {int: [1, 3]}", 2, "seed", "must be one value for the whole study, got the range"),
    ("name: digits", "name: digitz", 3, "data.name", "no data set is called 'digitz'; did you mean 'digits'?"),
    ("val_fraction: 0.2", "val_fraction: 1", 3, "data.val_fraction", "must be less than 1, got 1; leave it out"),
    ("val_fraction: 0.2", "download: yes", 3, "data.download", 'must be true or false, got "yes"; write true'),
    ("val_fraction: 0.2", "options: {sise: 8}", 3, "data.options.sise", "unknown option; did you mean 'size'?"),
    ("resnet20, epochs: 4", "resnet20", 4, "teacher", "needs path or epochs, got neither; write epochs: 20"),
    ("epochs: 4}", "epochs: 4, path: t.pt}", 4, "teacher.epochs", "got both path and epochs; remove one"),
    ("epochs: 4}", "epochs: 4, mean: [0.5]}", 4, "teacher.mean", "got mean alone; add std"),
    ("epochs: 4}", "epochs: 4, mean: [0.5], std: [1, 1]}", 4, "teacher.std", "got 1 and 2; make them equally long"),
    ("epochs: 4}", "epochs: {int: [1, 4]}}", 4, "teacher.epochs", "only student, train and the options of"),
    ("resnet8,", "resnet9,", 6, "student.model", "no model is called 'resnet9'; did you mean 'resnet8'?"),
    ("shortcut: A", "shortcut: C", 6, "student.model.resnet14.shortcut", "must be 'A' or 'B', got \"C\""),
    (
        "shortcut: A",
        "shortcut: {choice: [A, B]}",
        6,
        "student.model.resnet14.shortcut",
        "inside a choice every option is fixed",
    ),
    ("[4, 6]", "[0, 6]", 8, "train.epochs", "in the range: must be greater than or equal to 1, got 0"),
    ("epochs: {int: [4, 6]}", "epochs: {uniform: [4, 6]}", 8, "train.epochs", "write {int: [4, 6]}"),
    (
        "epochs: {int: [4, 6]}\n  ",
        "",
        7,
        "train.epochs",
        "missing (passes over the training split); write for example 8",
    ),
    ("[32, 64]", "[32, big]", 9, "train.batch_size", 'in the range: must be a whole number, got "big"'),
    ("[32, 64]", "[32, {int: [1, 2]}]", 9, "train.batch_size", "a range holds values, not ranges"),
    ("{log: [0.01, 0.3]}", "-1", 10, "train.base_lr", "must be greater than 0, got -1; write for example 0.1"),
    ("{log: [0.01, 0.3]}", ".nan", 10, "train.base_lr", "must be a finite number, got NaN"),
    ("{log: [0.01, 0.3]}", "fast", 10, "train.base_lr", 'must be a number, got "fast"'),
    ("{log: [0.01, 0.3]}", "{log: [0, 0.3]}", 10, "train.base_lr", "must be greater than 0, got 0; raise it"),
    ("{log: [0.01, 0.3]}", "{lgo: [0.1, 0.3]}", 10, "train.base_lr", 'so, got {"lgo": [0.1, 0.3]}; write {log: [0.1, '),
    ("{log: [0.01, 0.3]}", "0.1\n  nesterov: true\n  momentum: 0", 11, "train.nesterov", "raise momentum"),
    ("milestones: [2, 3]", "milestones: [3, 2]", 11, "train.schedule.multistep.milestones", "rising order"),
    ("milestones: [2, 3], ", "", 11, "train.schedule.multistep.milestones", "schedule 'multistep' needs it"),
    (
        "{multistep: {milestones: [2, 3], gamma: {uniform: [0.1, 0.5]}}}",
        "cosin",
        11,
        "train.schedule",
        "no schedule is called 'cosin'; did you mean 'cosine'?",
    ),
    ("- attention: {weight", "- atention: {weight", 14, "arms.transfers.atention", "did you mean 'attention'?"),
    ("{weight: {log: [1, 1000]}}", "{wieght: 3}", 14, "arms.transfers.attention.wieght", "did you mean 'weight'?"),
    ("{weight: {log: [1, 1000]}}", "{weight: {log: [-1, 10]}}", 14, "arms.transfers.attention.weight", "got -1"),
    ("{weight: {log: [1, 1000]}}", "3", 14, "arms.transfers.attention", "must be options, got 3"),
    (
        "- none",
        "- jacobian: {normalise: running}",
        15,
        "arms.transfers.jacobian.normalise",
        'earlier versions alone wrote it so, got "running"; write batch, or teacher to match the scale',
    ),
    (
        "- none",
        "- hessian: {normalise: {choice: [running, batch]}}",
        15,
        "arms.transfers.hessian.normalise",
        "must be 'batch', 'sample' or 'teacher', got \"running\"",
    ),
    ("- none", "- attention", 15, "arms.transfers[1]", "may stand only once, got 'attention' again"),
    ("- none", "- {kd: {}, none: {}}", 15, "arms.transfers[1]", "must be a name, or one name with its options"),
    ("- none", "- {choice: [kd, none]}", 15, "arms.transfers[1]", "list them one by one"),
    ("- none", "- no_such_package:Transfer", 15, "arms.transfers[1]", "add --allow-plugin no_such_package"),
    ("- none", "- tests.no_such:Transfer", 15, "arms.transfers[1]", "cannot be loaded (No module named"),
    ("- none", "- ':'", 15, "arms.transfers[1]", 'must be a name or package.module:Name, got ":"'),
    ("- none", "- os:system", 15, "arms.transfers[1]", "'os:system' is code outside kdstudy, which is not run unasked"),
    ("- none", "- tests.tools:TOOLS", 15, "arms.transfers[1]", 'a class or function, got "tests.tools:TOOLS"'),
    (
        "    - constant\n    - layerwise: {interval: {int: [1, 3]}, gain: {uniform: [-0.5, 0.5]}}",
        "    []",
        16,
        "arms.policies",
        "must be a list of at least one policy, got []; write - constant",
    ),
    ("{int: [1, 3]}, gain", "6, gain", 18, "arms.policies.layerwise.interval", "no update would ever happen"),
    ("{int: [1, 3]}, gain", "{int: [6, 9]}, gain", 18, "arms.policies.layerwise.interval", "no update would ever"),
    ("gain: {uniform: [-0.5, 0.5]}", "low: 2", 18, "arms.policies.layerwise.low", "less than or equal to 1, got 2"),
    ("gain: {uniform: [-0.5, 0.5]}", "high: 0.5", 18, "arms.policies.layerwise.high", "equal to 1, got 0.5"),
    ("sampler: tpe", "sampler: grid", 10, "train.base_lr", "the grid sampler needs ranges that can be counted"),
    (
        "sampler: tpe",
        "sampler: {tpe: {candidates: {int: [1, 9]}}}",
        19,
        "search.sampler.tpe.candidates",
        "must be one value for the whole study",
    ),
    ("trials_per_arm: 6", "startup: 0", 19, "search", "needs trials_per_arm or budget, got neither"),
    ("trials_per_arm: 6", "trials_per_arm: 6, budget: {hours: 1}", 19, "search", "got both; remove one"),
    ("trials_per_arm: 6", "budget: {trials: 3}", 19, "search.budget.trials", "one for each of the 4 arm(s)"),
    ("trials_per_arm: 6", "budget: {trials: 8.5}", 19, "search.budget.trials", "must be a whole number, at least"),
    ("trials_per_arm: 6", "budget: {hours: 0}", 19, "search.budget", "must be greater than 0, got"),
    ("trials_per_arm: 6", "budget: {gpu_hours: 1}", 19, "search.budget.gpu_hours", "got gpus: 0; write hours"),
    (
        "trials_per_arm: 6",
        "budget: {trials: 25}, startup: 4",
        19,
        "search.startup",
        "half of the trials of an arm, 3 of 6",
    ),
    (
        "trials_per_arm: 6",
        "trials_per_arm: 6, startup: 4",
        19,
        "search.startup",
        "must be at most half of trials_per_arm, 3 of 6, got 4; lower it, or leave it out for 3",
    ),
    (
        "trials_per_arm: 6",
        "trials_per_arm: 6, pruner: {asha: {grace: 6}}",
        19,
        "search.pruner.asha.grace",
        "would ever be stopped, got 6",
    ),
    (
        "trials_per_arm: 6",
        "trials_per_arm: 6, pruner: {median: {trials: 6}}",
        19,
        "search.pruner.median.trials",
        "must be below the search trials of an arm, 6, for any to be stopped, got 6",
    ),
    (
        "trials_per_arm: 6",
        "trials_per_arm: 6, pruner: patience",
        19,
        "search.pruner.patience.epochs",
        "no trial of at most 6 epoch(s) would ever be stopped, got 5; lower it",
    ),
    (
        "trials_per_arm: 6",
        "trials_per_arm: 6, pruner: {asha: {reduction: 1}}",
        19,
        "search.pruner.asha.reduction",
        "greater than or equal to 2, got 1; leave it out for 3",
    ),
    ("confirm: {seeds: 2}", "confirm: {seeds: -1}", 20, "confirm.seeds", "got -1; write for example 2"),
    ("confirm: {seeds: 2}", "confirm: 2", 20, "confirm", "must be a section of keys, got 2"),
    ("confirm: {seeds: 2}", "resources: {cpus: 0}", 20, "resources.cpus", "got 0; leave it out for 1"),
    ("confirm: {seeds: 2}", "resources: {gpus: 1.5}", 20, "resources.gpus", "whole number, or a share below 1"),
    (
        "confirm: {seeds: 2}",
        "resources: {gpus: 2}",
        20,
        "resources.gpus",
        "one GPU at most, got 2; write gpus: 1 and ranks: 2 for a trial on all of them",
    ),
    ("confirm: {seeds: 2}", "numerics: {packs: vmap}", 20, "numerics.packs", "resources.pack is off; write resources"),
    ("confirm: {seeds: 2}", "numerics: {packs: vmap, graph: on}", 20, "numerics.graph", "leave one of them out"),
    (
        "confirm: {seeds: 2}",
        "resources: {gpus: 4.0}",
        20,
        "resources.gpus",
        "one GPU at most, got 4; write gpus: 1 and ranks: 4 for a trial on all of them",
    ),
    ("confirm: {seeds: 2}", "layers: [[a]]", 20, "layers", 'got [["a"]]; write for example [["layer1", "layer1"]]'),
    ("confirm: {seeds: 2}", "confirm: !!python/name:os.system x", 20, "confirm", "YAML tags are not allowed"),
]


@pytest.mark.parametrize(("old", "new", "line", "field", "hint"), CASES)
def test_one_line_for_one_problem(old: str, new: str, line: int, field: str, hint: str) -> None:
    told = problems(spoilt(old, new))
    assert told[0].startswith(f"x.yaml:{line}: {field}: "), told
    assert hint in told[0]
    assert len({problem.split(": ")[0] for problem in told}) == len(told) or old == "sampler: tpe"
    assert all("\n" not in problem for problem in told)


RATE = "{log: [0.01, 0.3]}"
SCHEDULE = "{multistep: {milestones: [2, 3], gamma: {uniform: [0.1, 0.5]}}}"
KINDS = "the kinds of ranges are uniform, log, int, choice"


@pytest.mark.parametrize(
    ("old", "new", "field", "told"),
    [
        (RATE, "{loguniform: [0.01, 0.3]}", "train.base_lr", f"write {{log: [0.01, 0.3]}}; {KINDS}"),
        (RATE, "[0.01, 0.3]", "train.base_lr", "a list is no range, got [0.01, 0.3]; write {uniform: [0.01, 0.3]}, "
         "{log: [0.01, 0.3]} or {choice: [0.01, 0.3]}"),
        (RATE, "tune.loguniform(0.01, 0.3)", "train.base_lr", f"write {{log: [low, high]}}; {KINDS}"),
        (RATE, "{min: 0.1, max: 2}", "train.base_lr", "write {uniform: [low, high]}, {log: [low, high]}, {int: [low, "),
        (RATE, "{values: [0.1, 1, 2]}", "train.base_lr", f"write {{choice: [0.1, 1, 2]}}; {KINDS}"),
        (SCHEDULE, "[cosine, constant]", "train.schedule", 'write {choice: ["cosine", "constant"]}'),
        ("{weight: {log: [1, 1000]}}", "{weight: [1, 9]}", "arms.transfers.attention.weight", "{int: [1, 9]} or {c"),
        ("{int: [4, 6]}", "{randint: [4, 6]}", "train.epochs", "write {int: [4, 6]}"),
    ],
)  # fmt: skip
def test_what_looks_like_a_range_is_told_how_one_is_written(old: str, new: str, field: str, told: str) -> None:
    (problem,) = problems(spoilt(old, new))
    assert f": {field}: " in problem and told in problem


def test_a_list_where_no_range_may_stand_is_told_what_may() -> None:
    assert problems(spoilt("seed: 3", "seed: [1, 2]")) == (
        "x.yaml:2: seed: must be a whole number, got [1, 2]; leave it out for 0",
    )
    (problem,) = problems(spoilt("- none", "- [kd, none]"))
    assert 'must be a name, or one name with its options, got ["kd", "none"]; write attention or' in problem


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "first", "second"),
    [
        (RATE, "{choice: [1, 1.0]}", 10, "train.base_lr", "1", "1.0"),
        (RATE, "0.1\n  weight_decay: {choice: [1, 0.5, 1.0]}", 11, "train.weight_decay", "1", "1.0"),
        (RATE, "0.1\n  weight_decay: {choice: [0, -0.0]}", 11, "train.weight_decay", "0", "-0.0"),
        (SCHEDULE, "{choice: [cosine, {cosine: {}}]}", 11, "train.schedule", '"cosine"', '{"cosine": {}}'),
        ("- none", "- sp: {at: {choice: [last, last]}}", 15, "arms.transfers.sp.at", '"last"', None),
        (
            SCHEDULE,
            "{choice: [constant, {multistep: {milestones: [2]}}, {multistep: {milestones: [2], gamma: 0.1}}]}",
            *(11, "train.schedule", '{"multistep": {"milestones": [2]}}'),
            '{"multistep": {"milestones": [2], "gamma": 0.1}}',
        ),
    ],
)
def test_a_choice_of_which_two_options_mean_the_same_is_one_line(
    old: str, new: str, line: int, field: str, first: str, second: str | None
) -> None:
    got = f"{first} 2 times" if second is None else f"{first} and {second}, which mean the same here"
    told = f"x.yaml:{line}: {field}: a choice must not repeat an option, got {got}; keep one of them"
    assert problems(spoilt(old, new)) == (told,)


def test_options_that_only_look_alike_are_told_apart() -> None:
    study = parse_study(spoilt(RATE, "{choice: [1, 1.5]}").replace("{int: [4, 6]}", "{choice: [4, 6]}"))
    assert study.space("none/constant")["train.base_lr"] == Choice((1.0, 1.5))


def test_records_may_repeat_what_earlier_versions_took_for_two_options() -> None:
    for old, new, path, options in (
        (RATE, "0.1\n  weight_decay: {choice: [0, -0.0]}", "train.weight_decay", ("0.0", "-0.0")),
        (SCHEDULE, "{choice: [cosine, {cosine: {}}]}", "train.schedule", ("cosine", "{'cosine': {}}")),
    ):
        span = parse_study(spoilt(old, new), recorded=True).space("none/constant")[path]
        assert isinstance(span, Choice) and tuple(map(str, span.options)) == options


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seed: 3", "lr: 3", "lr: unknown key; see train.base_lr or teacher.base_lr"),
        (RATE, "0.1\n  learning_rate: 1", "train.learning_rate: unknown key; see train.base_lr"),
        ("resnet20, epochs: 4", "resnet20, epochs: 4, LR: 1", "teacher.LR: unknown key; see teacher.base_lr"),
        (RATE, "0.1\n  warmup: 1", "train.warmup: unknown key; see train.warmup_epochs (for every schedule)"),
        ("seed: 3", "mixed-precision: true", "numerics.teacher (float32 or bfloat16, not float16)"),
        (
            "sampler: tpe",
            "early_stopping: 3",
            "search.early_stopping: unknown key; see search.pruner (for example {pat",
        ),
        ("sampler: tpe", "timeout: 3", "search.timeout: unknown key; see search.budget (for example {hours: 2})"),
        ("seed: 3", "batch_size: 3", "batch_size: unknown key; see teacher.batch_size or train.batch_size"),
        ("val_fraction: 0.2", "path: here", "data.path: unknown key; see data.root"),
        ("{weight: {log: [1, 1000]}}", "{lambda: 3}", "arms.transfers.attention.lambda: unknown option; see weight"),
        ("val_fraction: 0.2", "val_fractoin: 0.2", "data.val_fractoin: unknown key; did you mean 'val_fraction'?"),
    ],
)
def test_an_unknown_key_is_told_what_exists_for_it(old: str, new: str, told: str) -> None:
    assert told in problems(spoilt(old, new))[0]


def test_every_other_name_leads_to_something_that_exists() -> None:
    command = cli.get_command(click.Context(cli), "run")
    assert command is not None
    arguments = {option for parameter in command.params for option in parameter.opts}
    targets = {target for targets, _ in OTHER_KEYS.values() for target in targets}
    assert targets <= {*key_paths(), *arguments}, targets - {*key_paths(), *arguments}
    assert all(name == name.lower() and "-" not in name for name in (*OTHER_KEYS, *OTHER_OPTIONS))
    options = {option for registry in REGISTRIES.values() for name in registry for option in registry.options(name)}
    assert {option for meant in OTHER_OPTIONS.values() for option in meant} <= options
    assert set(OTHER_KINDS.values()) <= set(RANGE_KINDS)


def test_a_budget_of_trials_is_divided_equally() -> None:
    search = parse_study(spoilt("trials_per_arm: 6", "budget: {trials: 27}")).search
    assert (search.trials_per_arm, search.startup_trials) == (6, 3)
    search = parse_study(spoilt("trials_per_arm: 6", "budget: {hours: 2}")).search
    assert (search.trials_per_arm, search.startup_trials, search.budget) == (None, 10, {"hours": 2.0})


def test_cmaes_needs_a_number_to_search() -> None:
    text = spoilt("sampler: tpe", "sampler: cmaes")
    parse_study(text)
    for old, new in (("{int: [4, 6]}", "4"), ("{log: [0.01, 0.3]}", "0.1"), ("{uniform: [0.1, 0.5]}", "0.1")):
        text = text.replace(old, new)
    told = problems(text)
    assert told == (
        "x.yaml:19: search.sampler: cmaes needs a uniform, log or int range in each arm, got only choices in "
        "none/constant; use tpe",
    )


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["kd", "uniform", "choice", "a:b", ":", ".x:y", "os:sep"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["uniform", "log", "int", "choice", "kd", "layerwise", "label", "x"]), inner, max_size=2
        )
    ),
    max_leaves=6,
)


def places(tree: Any) -> list[tuple[Any, Any]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [spot for key, value in inner for spot in ((tree, key), *places(value))]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_stands_anywhere_is_right_or_a_problem(data: st.DataObject) -> None:
    tree = yaml.safe_load(STUDY)
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places(tree)))
        holder[key] = data.draw(anything)
    try:
        study = parse_study(write_text(tree), "x.yaml")
    except StudyError as error:
        assert error.problems
        assert all(line.startswith("x.yaml:") and line.isprintable() for line in error.problems)
    else:
        for arm in study.arms:
            values = {path: span.at(0.5) for path, span in study.space(arm).items()}
            study.config(arm.name, values, data_seed=0, init_seed=0)


def test_an_arm_that_sometimes_updates_is_right() -> None:
    parse_study(spoilt("{int: [1, 3]}, gain", "{int: [3, 9]}, gain"))


def test_everything_at_once_unknown_names_first_then_in_file_order() -> None:
    text = STUDY
    for old, new in (
        ("seed: 3", "seed: x"),
        ("batch_size", "batchsize"),
        ("seeds: 2", "seeds: 1.5"),
        ("- none", "- nothing"),
        ("[1, 1000]", "[5, 5]"),
        ("epochs: 4}", "epochs: 0}"),
    ):
        text = text.replace(old, new)
    told = problems(text)
    assert [problem.split(": ")[:2] for problem in told] == [
        ["x.yaml:9", "train.batchsize"],
        ["x.yaml:15", "arms.transfers[1]"],
        ["x.yaml:2", "seed"],
        ["x.yaml:4", "teacher.epochs"],
        ["x.yaml:7", "train.batch_size"],
        ["x.yaml:14", "arms.transfers.attention.weight"],
        ["x.yaml:20", "confirm.seeds"],
    ]


def test_missing_sections_are_all_named() -> None:
    told = problems("name: a\n")
    assert [problem.split(": ")[1] for problem in told] == ["data", "teacher", "student", "train", "arms", "search"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "{path}: the file is empty; `kdstudy init` writes one"),
        (b"# nothing\n", "{path}: the file is empty; `kdstudy init` writes one"),
        (
            b"- a\n",
            "{path}:1: a study file is a mapping of keys to values, got a list; `kdstudy init` writes one",
        ),
        (b"name: a\nseed: \xff\n", "{path}:2: not UTF-8 text, got byte 0xff; save the file as UTF-8"),
        (b"x" * 1_000_001, "{path}: a study file has at most 1000000 bytes, got 1000001; is this the right file?"),
    ],
)
def test_files_that_are_no_study(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert caught.value.problems == (told.format(path=path),)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "no such file or directory"), (tmp_path, "is a directory")):
        with pytest.raises(StudyError) as caught:
            load_study(path)
        told = f"{path}: cannot be read ({reason}); give the path of a study file"
        assert caught.value.problems == (told,)


def placed(folder: Path, root: str, weights: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = spoilt("epochs: 4}", f"path: {weights}}}").replace("{name: digits,", f"{{name: digits, root: {root},")
    (folder / "study.yaml").write_text(text)
    return folder / "study.yaml"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("pictures", "{tmp}/a/b/pictures"),
        ("./pictures/", "{tmp}/a/b/pictures"),
        ("../pictures", "{tmp}/a/pictures"),
        ("../../x/../pictures", "{tmp}/pictures"),
        ("/srv/pictures", "/srv/pictures"),
        ("~/pictures", "{home}/pictures"),
        ("~nobody-of-that-name/pictures", "{tmp}/a/b/~nobody-of-that-name/pictures"),
    ],
)
def test_relative_paths_are_meant_from_the_study_files_folder(
    written: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = placed(tmp_path / "a" / "b", written, written)
    expected = meant.format(tmp=tmp_path.resolve(), home=Path.home())
    for here, named in ((tmp_path, "a/b/study.yaml"), (tmp_path / "a" / "b", "study.yaml"), (Path("/"), str(file))):
        monkeypatch.chdir(here)
        study = load_study(named)
        assert (study.data.root, study.teacher.path) == (expected, expected)
        assert study.text == file.read_text(), "the file stays as it is"
        assert Study.from_json(study.to_json()) == study, "the record holds where that was"


def test_so_are_a_models_weights_if_they_are_a_file(tmp_path: Path) -> None:
    models = [{"torchvision": {"name": "resnet18", "weights": each}} for each in ("w/a.pt", "none", "IMAGENET1K_V1")]
    tree = yaml.safe_load(STUDY)
    tree["teacher"] = {"model": {"torchvision": {"name": "resnet18", "weights": "w/a.pt"}}}
    tree["student"] = {"model": {"choice": models}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    study = load_study(tmp_path / "study.yaml")
    file = str(tmp_path.resolve() / "w" / "a.pt")
    assert study.teacher.model.options["weights"] == file
    choice: Any = study.student.model
    assert [spec.options["weights"] for spec in choice.filled] == [file, "none", "IMAGENET1K_V1"]
    assert study.student_corners()[0].student.model.options["weights"] == file
    assert Study.from_json(study.to_json()) == study
    one = {**tree, "student": {"model": {"torchvision": {"name": "resnet18", "weights": {"choice": ["a.pt", "none"]}}}}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(one, sort_keys=False))
    spanned: Any = load_study(tmp_path / "study.yaml").student.model
    assert spanned.options["weights"] == Choice((str(tmp_path.resolve() / "a.pt"), "none"))


@pytest.mark.parametrize(
    ("teacher", "told"),
    [
        ("{model: {torchvision: {name: resnet18, weights: pretrained}}}", None),
        ("{model: {torchvision: {name: resnet18, weights: none}}}", "needs path or epochs, got neither"),
        ("{model: {torchvision: {name: resnet18, weights: none}}, epochs: 4}", None),
        ("{model: {torchvision: {name: resnet18}}, epochs: 4}", "missing: model 'torchvision' needs it"),
        ("{model: {torchvision: {name: resnet18, weights: a}}, head_epochs: 4}", None),
        ("{model: resnet20, epochs: 4, head_epochs: 4}", "got both epochs and head_epochs; remove one"),
        ("{model: resnet20, path: w.pt, head_epochs: 4}", "got both path and head_epochs; remove one"),
    ],
)
def test_where_a_teachers_weights_may_come_from(teacher: str, told: str | None) -> None:
    text = re.sub(r"^teacher: .*$", f"teacher: {teacher}", STUDY, flags=re.MULTILINE)
    assert teacher in text
    if told is None:
        assert parse_study(text)
    else:
        assert told in " ".join(problems(text))


def test_buckets_and_the_default_place_are_no_relative_paths(tmp_path: Path) -> None:
    assert load_study(placed(tmp_path, "s3://bucket/pictures", "w.pt")).data.root == "s3://bucket/pictures"
    (tmp_path / "plain.yaml").write_text(STUDY)
    assert load_study(tmp_path / "plain.yaml").data.root is None


def test_a_link_to_a_folder_of_studies_means_that_folder(tmp_path: Path) -> None:
    placed(tmp_path / "real" / "studies", "../pictures", "w.pt")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "studies")
    assert load_study(tmp_path / "link" / "study.yaml").data.root == str(tmp_path.resolve() / "real" / "pictures")


def test_from_a_pipe_or_a_record_paths_keep_their_meaning(tmp_path: Path) -> None:
    text = placed(tmp_path / "studies", "pictures", "weights.pt").read_text()
    assert parse_study(text, recorded=True).data.root == "pictures"
    script = "from kdstudy.study import load_study; s = load_study('/dev/stdin'); print(s.data.root, s.teacher.path)"
    done = subprocess.run(
        [sys.executable, "-c", script], input=text, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split() == [f"{tmp_path.resolve()}/{name}" for name in ("pictures", "weights.pt")]


@pytest.mark.parametrize("file", shipped(without={"imagefolder.yaml"}))  # its images are its user's
def test_shipped_studies_keep_their_data_beside_the_folder_of_studies(file: Path) -> None:
    study = load_shipped(file)
    for place in (study.data.root, study.teacher.path):
        assert place is None or Path(place).is_relative_to(STUDIES.parent.resolve() / "data")


def test_reading_studies_imports_nothing_heavy() -> None:
    script = (
        "import sys, kdstudy.study, kdstudy.search.samplers; from kdstudy.plugins.registry import SAMPLERS; "
        "[SAMPLERS.load(name) for name in SAMPLERS]; "
        "heavy = ('ray', 'mlflow', 'optuna', 'torch', 'cmaes', 'numpy'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_checking_a_study_imports_no_scheduler_and_no_sampler_library() -> None:
    script = (
        "import sys; from kdstudy.study import load_study; load_study(sys.argv[1]); "
        "print([name for name in ('ray', 'mlflow', 'optuna', 'cmaes') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(STUDIES / "quickstart.yaml")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
