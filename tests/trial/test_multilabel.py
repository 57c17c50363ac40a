"""Several labels an image, from files to the result of a trial."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from kdstudy.data import Batch
from kdstudy.data.load import _decoded, _load
from kdstudy.errors import DataError, ModelError
from kdstudy.results import EpochRecord
from kdstudy.study import TrialConfig, parse_study
from kdstudy.trial.build import dataset_of, describe_dataset
from kdstudy.trial.dry_run import run_corners
from kdstudy.trial.inputs import OwnInputs
from kdstudy.trial.run import TrialRun, run_trial
from kdstudy.trial.teacher import open_teacher, prepare_teacher
from tests.data.layouts import make_coco

TEXT = """
name: several
seed: 3
data: {{name: coco, root: {root}, val_fraction: 0.25, options: {{size: 16, memory_gb: {memory}, workers: 1}}}}
teacher: {{model: resnet8, epochs: 2, allow_weak: true}}
student: {{model: resnet8}}
train: {{epochs: 2, batch_size: 16, base_lr: 0.05}}
arms:
  transfers: [{transfer}]
  policies: [{policy}]
search: {{trials_per_arm: 1}}
confirm: {{seeds: 0}}
"""


def config(root: Path, transfer: str = "attention", memory: float = 1) -> TrialConfig:
    policy = "constant" if transfer == "none" else "{layerwise: {interval: 1}}"
    text = TEXT.format(root=root, transfer=transfer, memory=memory, policy=policy)
    study = parse_study(text, "several.yaml")
    return study.config(study.arms[0].name, {}, data_seed=1, init_seed=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("several")
    make_coco(root / "coco", train=80, val=40)
    prepare_teacher(config(root / "coco"), root)
    return root


def run(root: Path, trial: TrialConfig, **settings: bool):
    records: list[EpochRecord] = []
    teacher = open_teacher(root / prepare_teacher(trial, root).key)
    result = run_trial(trial, lambda record, _: records.append(record), teacher=teacher, **settings)
    return result, records


@pytest.mark.parametrize("transfer", ["attention", "jacobian", "hessian", "{kd: {weight: 1.0}}"])
def test_every_map_trains_and_is_scored_by_mean_average_precision(root: Path, transfer: str) -> None:
    trial = config(root / "coco", transfer)
    if transfer.startswith("{kd"):
        trial = dataclasses.replace(
            trial,
            policy=dataclasses.replace(trial.policy, options={**trial.policy.options, "map": "attention"}),
        )
    result, records = run(root, trial, with_test=True)
    assert result.state == "completed"
    assert 0 < result.test <= 1
    for record in records:
        assert record.val == record.scores["map"]
        assert record.scores["map_classes"] == 3
        assert set(record.scores) == {"map", "f1_micro", "f1_macro", "map_classes"}
    assert len(records[0].layers) == 3


def test_decoding_batch_by_batch_gives_the_same_student(root: Path) -> None:
    (kept, first), (streamed, second) = (run(root, config(root / "coco", memory=memory)) for memory in (1, 0))
    assert kept.weights_sha256 == streamed.weights_sha256
    assert [record.numbers() for record in first] == [record.numbers() for record in second]


@pytest.mark.slow
def test_two_ranks_give_what_one_process_gives(root: Path) -> None:
    trial = config(root / "coco")
    shared = dataclasses.replace(trial, resources=dataclasses.replace(trial.resources, ranks=2))
    (alone, expected), (both, found) = run(root, trial, with_test=True), run(root, shared, with_test=True)
    assert both.test == pytest.approx(alone.test, abs=1e-4)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-5)
        assert mine.scores == pytest.approx(theirs.scores, abs=1e-4)


def test_the_record_says_that_there_are_several_labels(root: Path) -> None:
    assert describe_dataset(dataset_of(config(root / "coco"), with_test=False))["multilabel"] is True


def test_a_teacher_that_knows_nothing_is_refused(root: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    trial = config(root / "coco")
    module = open_teacher(root / prepare_teacher(trial, root).key)
    with torch.no_grad():
        module.fc.weight.zero_()
    save_file(module.state_dict(), tmp_path / "weights.safetensors")
    weak = dataclasses.replace(trial.teacher, path=str(tmp_path / "weights.safetensors"), epochs=None)
    with pytest.raises(ModelError, match="near chance"):
        prepare_teacher(dataclasses.replace(trial, teacher=dataclasses.replace(weak, allow_weak=False)), tmp_path)


def test_a_record_written_before_there_were_scores_still_loads() -> None:
    record = EpochRecord(1, 0.5, {}, 0.5, 0.7, 0.1, {})
    old = record.to_json()
    del old["scores"]
    assert EpochRecord.from_json(old) == record


def test_the_labels_are_independent_questions_in_training(root: Path) -> None:
    trial = TrialRun(config(root / "coco", "none"), OwnInputs())
    batch = Batch(trial.data.train.images[:16].float() / 255, torch.zeros(16, 3), torch.arange(16))
    epoch = trial.distiller.begin_epoch(1, [batch], steps=1, directions=torch.Generator(), multipliers={})
    totals = epoch.run()
    assert totals.terms["cross_entropy"] > 0.1, "a cross-entropy over the classes would be 0 without any"


@pytest.mark.parametrize("with_test", [True, False])
def test_a_student_whose_answers_to_test_images_are_no_numbers_has_diverged(root: Path, with_test: bool) -> None:
    trial = TrialRun(config(root / "coco", "none"), OwnInputs(), with_test=with_test)
    while not trial.done:
        trial.begin_epoch()
        while trial.step():
            pass
        trial.end_epoch()
    with torch.no_grad():
        trial.student.module.fc.bias.fill_(torch.nan)  # finite for validation, as far as the history knows
    result = trial.finish()
    assert (result.state, result.epochs, result.test) == ("diverged" if with_test else "completed", 2, None)


def test_a_teacher_that_answers_no_numbers_is_refused(root: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    trial = config(root / "coco")
    module = open_teacher(root / prepare_teacher(trial, root).key)
    with torch.no_grad():
        module.fc.bias.fill_(torch.inf)
    save_file(module.state_dict(), tmp_path / "weights.safetensors")
    loaded = dataclasses.replace(trial.teacher, path=str(tmp_path / "weights.safetensors"), epochs=None)
    with pytest.raises(ModelError, match="the answers are not finite numbers") as caught:
        prepare_teacher(dataclasses.replace(trial, teacher=loaded), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("memory", [1, 0])
def test_corners_look_at_test_images_too(root: Path, tmp_path: Path, memory: float) -> None:
    shutil.copytree(root / "coco", tmp_path / "coco")
    text = TEXT.format(root=tmp_path / "coco", transfer="none", policy="constant", memory=memory)
    study = parse_study(text, "several.yaml")
    assert run_corners(study) == 1
    damaged = sorted((tmp_path / "coco" / "images").iterdir())[-1]
    damaged.write_bytes(damaged.read_bytes()[:300])
    _load.cache_clear()
    _decoded.cache_clear()
    with pytest.raises(DataError, match=f"^data: {damaged} cannot be read"):
        run_corners(study)
