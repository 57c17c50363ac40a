from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import kdstudy
from kdstudy.errors import StoreError
from kdstudy.ledger import StudyRecord
from kdstudy.models import NetworkSpec, save_student
from kdstudy.tracking import Tracker
from kdstudy.tracking.client import pyfunc
from kdstudy.tracking.model import write_model
from tests.servers import default_uri
from tests.tracking.records import close_study

SHAPE = (1, 8, 8)
SPEC = NetworkSpec("resnet8", {}, num_classes=10, image_shape=SHAPE, mean=(0.3,), std=(0.4,))


def network() -> torch.nn.Module:
    return SPEC.build(seed=5).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_student(network(), tmp_path / "student", SPEC)
    return tmp_path / "student"


def test_the_best_student_is_logged_once_and_loads_to_the_same_logits(
    tracker: Tracker, study: StudyRecord, store: Path, saved: Path, images: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(store))
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    opened = dataclasses.replace(study, status="finished", tracking=tracker.open_study(study))
    for _ in range(2):
        close_study(tracker, opened, {}, "", saved)
    client = MlflowClient(default_uri(store))
    (model,) = client.search_logged_models([opened.tracking.experiment_id])
    assert model.source_run_id == opened.tracking.run_id
    run = client.get_run(opened.tracking.run_id)
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    loaded = pyfunc().load_model(f"models:/{model.model_id}")
    logits = loaded.predict(images.numpy())
    assert logits.dtype == np.float32
    assert np.array_equal(logits, network()(images).detach().numpy())
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, *SHAPE)
    with pytest.raises(MlflowException):
        loaded.predict(images.numpy()[:, :, :4])


def test_the_best_student_of_the_newest_study_has_the_alias(
    tracker: Tracker, study: StudyRecord, store: Path, saved: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    save_student(network(), other, SPEC, {"provenance": {"trial": 1}})
    client = MlflowClient(default_uri(store), default_uri(store))
    opened = []
    for days in range(3):  # study n is n days younger than study 0
        created = study.created + timedelta(days=days)
        one = dataclasses.replace(study, id=f"smoke-0000000{days}", created=created, status="finished")
        opened.append(dataclasses.replace(one, tracking=tracker.open_study(one)))
    best = []
    # Study 1 is delivered after the younger study 2, and study 0 once more, as `sync` does.
    for number, student in ((0, saved), (2, other), (1, saved), (0, saved)):
        close_study(tracker, opened[number], {}, "", student)
        best.append(client.get_model_version_by_alias("smoke", "best").run_id)
    assert best == [opened[number].tracking.run_id for number in (0, 2, 2, 2)]
    (registered,) = client.search_registered_models()
    assert registered.name == "smoke"
    aliases = {alias: int(version) for alias, version in registered.aliases.items()}
    assert aliases == {"best": 2, "study-00000000": 1, "study-00000002": 2, "study-00000001": 3}
    loaded = pyfunc().load_model(client.get_model_version_by_alias("smoke", "best").source)
    assert loaded.metadata.signature is not None


def test_the_artifact_holds_no_code_and_nothing_pickled(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    write_model(target, saved)
    files = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert files == [
        "MLmodel", "conda.yaml", "data/student/student.json", "data/student/student.safetensors",
        "python_env.yaml", "requirements.txt",
    ]  # fmt: skip
    assert list(yaml.safe_load((target / "MLmodel").read_text())["flavors"]) == ["python_function"]
    flavour = yaml.safe_load((target / "MLmodel").read_text())["flavors"]["python_function"]
    assert flavour["loader_module"] == "kdstudy.models.saved"
    assert flavour.get("code") is None
    assert not any(key in flavour for key in ("python_model", "cloudpickle_version", "artifacts"))
    requirements = (target / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in requirements} >= {"kdstudy", "torch", "safetensors"}


def test_the_student_can_be_taken_out_of_a_model_folder(saved: Path, tmp_path: Path, images: torch.Tensor) -> None:
    write_model(tmp_path / "model", saved)
    assert torch.equal(kdstudy.load_student(tmp_path / "model")(images), network()(images))


def test_a_model_logged_under_the_loaders_old_name_still_loads(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    write_model(target, saved)
    text = (target / "MLmodel").read_text()
    (target / "MLmodel").write_text(text.replace("kdstudy.models.saved", "kdstudy.student"))
    with pytest.warns(DeprecationWarning, match=r"kdstudy\.student is now kdstudy\.models"):
        loaded = pyfunc().load_model(str(target))
    images = np.zeros((1, *SHAPE), np.float32)
    assert np.array_equal(loaded.predict(images), network()(torch.from_numpy(images)).detach().numpy())


def test_code_that_came_with_a_model_folder_is_not_run_by_our_loader(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    write_model(target, saved)
    (target / "code").mkdir()
    trap = target / "code" / "trap.py"
    trap.write_text("import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n")
    description = yaml.safe_load((target / "MLmodel").read_text())
    description["flavors"]["python_function"] |= {"loader_module": "trap", "code": "code"}
    (target / "MLmodel").write_text(yaml.safe_dump(description))
    kdstudy.load_student(target)
    assert not (target / "code" / "ran").exists()


def test_what_is_not_a_student_is_refused(tracker: Tracker, study: StudyRecord, tmp_path: Path) -> None:
    opened = dataclasses.replace(study, tracking=tracker.open_study(study))
    with pytest.raises(StoreError, match="not a saved student"):
        close_study(tracker, opened, {}, "", tmp_path / "nowhere")
