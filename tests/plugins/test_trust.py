"""Code that a file or a record names runs only if its package was allowed, and no record leads out of the store."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kdstudy.cli import run
from kdstudy.data import load_data
from kdstudy.errors import DataError, ModelError, PluginError, RecordError
from kdstudy.ledger import Ledger, StudyRecord, TrialRecord
from kdstudy.models import NetworkSpec, load_student, save_student
from kdstudy.plugins.registry import MODELS
from kdstudy.plugins.trust import allow_plugins, allowed_plugins
from kdstudy.settings import ALLOW_PLUGINS
from kdstudy.storage import folder_name, require_download_inside
from kdstudy.study import ArmId, parse_study
from kdstudy.trial import find_teacher
from kdstudy.trial.teacher import read_weights
from tests.stages import ended
from tests.study.files import STUDY, spoilt

SPEC = NetworkSpec("resnet8", {}, num_classes=2, image_shape=(1, 8, 8), mean=(0.5,), std=(0.5,))
STRANGER = '''
import pathlib
pathlib.Path(__file__).with_name("ran").touch()
from kdstudy.transfer.none import NoTransfer


class Transfer(NoTransfer):
    """A stranger's method."""
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a stranger's study, a stranger's record of it, and their package on the path."""
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "__init__.py").touch()
    (tmp_path / "stranger" / "method.py").write_text(STRANGER)
    (tmp_path / "study.yaml").write_text(spoilt("- none", "- stranger.method:Transfer"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    record(tmp_path)
    yield tmp_path
    for name in ("stranger.method", "stranger"):
        sys.modules.pop(name, None)


def record(folder: Path) -> None:
    study = parse_study(STUDY)
    config = study.config(
        "none/constant", {path: hole.ends()[0] for path, hole in study.space("none/constant").items()},
        data_seed=0, init_seed=0,
    ).to_json()  # fmt: skip
    (folder / "kdstudy-data").mkdir()
    with Ledger.open(f"sqlite:///{folder / 'kdstudy-data' / 'ledger.db'}", create=True) as ledger:
        ledger.create_study(
            StudyRecord(id="example-00000001", name="example", seed=3, text=(folder / "study.yaml").read_text())
        )
        trial = TrialRecord(
            study_id="example-00000001", number=0, phase="search",
            arm_id=ArmId("stranger.method:Transfer", "constant"), index=0, data_seed=0, init_seed=0,
            config={**config, "transfer": "stranger.method:Transfer"}, stage=ended(val=0.5),
        )  # fmt: skip
        ledger.add_trial(trial)


def forge(folder: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(folder / "kdstudy-data" / "ledger.db")) as database, database:
        database.execute("PRAGMA foreign_keys=OFF")
        database.execute(statement, values)


COMMANDS = (
    ["check", "study.yaml"],
    ["run", "study.yaml"],
    ["resume"],
    ["confirm", "--seeds", "1"],
    ["show"],  # of a record of an older ledger, which holds the file's text alone
    ["reproduce"],
    ["transfers", "stranger.method:Transfer"],
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_command_runs_a_strangers_code_unasked(
    arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors
    assert any("--allow-plugin stranger" in line and ALLOW_PLUGINS in line for line in errors), errors
    assert not (folder / "stranger" / "ran").exists()


def test_a_trial_is_shown_without_its_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "--yaml"]) == 0
    assert "stranger.method:Transfer" in capsys.readouterr().out
    assert not (folder / "stranger" / "ran").exists()


def test_a_student_that_names_a_strangers_network_is_not_exported_unasked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = folder / "kdstudy-data" / "studies" / "example-00000001" / "0" / "student"
    save_student(SPEC.build(seed=0), student, replace(SPEC, model="stranger.method:Transfer"))
    assert run(["export", "--format", "safetensors", "-o", "out"]) == 1
    assert "--allow-plugin stranger" in capsys.readouterr().err
    assert not (folder / "stranger" / "ran").exists()
    assert not (folder / "out").exists()


def test_what_the_user_allows_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "study.yaml", "--allow-plugin", "other", "--allow-plugin", "stranger.method"]) == 0
    assert "stranger.method:Transfer/constant" in capsys.readouterr().out
    assert (folder / "stranger" / "ran").exists()
    assert tuple(allowed_plugins()) == ("tests", "other", "stranger.method"), (
        "told to every process that is started from here"
    )


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("strangr", True),  # of several, the second misspelt
        ("strangr.method", True),
        ("stranger.method", False),
        ("json", False),
        ("beside", False),
        ("folder", False),
    ],
)
def test_what_is_allowed_by_a_name_that_is_nowhere_is_told(
    word: str, told: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "elsewhere" / "folder").mkdir(parents=True)
    (folder / "elsewhere" / "beside.py").touch()
    study = Path(shutil.move(folder / "study.yaml", folder / "elsewhere"))
    assert run(["check", str(study), "--allow-plugin", "stranger", "--allow-plugin", word]) == 0
    line = f"warning: --allow-plugin: nothing is called '{word}' here, so this allows nothing; is it spelled right?\n"
    assert capsys.readouterr().err.count(line) == told


def test_an_allowance_in_the_environment_may_be_for_other_studies(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ALLOW_PLUGINS, "strangr")
    assert run(["list"]) == 0
    assert capsys.readouterr().err == ""
    assert run(["list"]) == run(["show", "--yaml", "--allow-plugin", "strangr"]) == 0
    assert "nothing is called 'strangr'" in capsys.readouterr().err


def test_an_allowance_is_for_a_package_and_what_is_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_PLUGINS, "json, xml.dom")
    assert MODELS.load("json.decoder:JSONDecoder") is json.JSONDecoder
    for name in ("jsonschema:validate", "xml:dom", "xml.domain:Name", "os:system"):
        with pytest.raises(PluginError, match="is code outside kdstudy"):
            MODELS.load(name)
    with pytest.raises(PluginError, match=r"--allow-plugin: not the name of a package, got '\.x'"):
        allow_plugins(".x")
    with pytest.raises(PluginError, match=r"--allow-plugin: there is no module at /.*/x, got '\.\./x'; name its file"):
        allow_plugins("../x")
    monkeypatch.setenv(ALLOW_PLUGINS, "ok;rm")
    with pytest.raises(PluginError, match=f"{ALLOW_PLUGINS}: not the name of a package, got 'ok;rm'"):
        MODELS.load("os:system")


@pytest.mark.parametrize(
    "name",
    ["kdstudy.models.vgg:nn", "kdstudy.models.torchvision_models:_factory",
     "kdstudy.models.torchvision_models:import_torchvision", "kdstudy.student:load_student", "kdstudy.cli:main"],
)  # fmt: skip
def test_of_kdstudy_itself_only_plug_in_modules_own_public_names_can_be_named(name: str) -> None:
    with pytest.raises(PluginError, match="is code outside kdstudy"):
        MODELS.load(name)


def test_identifiers_of_a_record_cannot_name_another_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forge(folder, "UPDATE kdstudy_studies SET id = '../../escaped'")
    for arguments in (["show"], ["resume"], ["reproduce"], ["export", "--format", "safetensors", "-o", "out"]):
        assert run(arguments) == 1
        (error,) = capsys.readouterr().err.splitlines()
        assert "not a name of letters" in error
    forge(folder, "UPDATE kdstudy_studies SET id = 'example-00000001', teacher = ?", '{"key": "../../escaped"}')
    assert run(["resume"]) == 1
    assert "its teacher's key: not a name of letters" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "/etc", "a\\b", "a\0b", "a\n", "-rf", 7, None])
def test_only_plain_names_are_folders(name: object) -> None:
    with pytest.raises(RecordError, match="not a name of letters"):
        folder_name("study", name)
    assert folder_name("study", "digits-1.5_b-0a1b2c3d") == "digits-1.5_b-0a1b2c3d"


def test_a_record_downloads_only_where_the_user_keeps_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    here.mkdir()
    other.mkdir()
    (here / "link").symlink_to(other)
    monkeypatch.chdir(here)
    for root in (None, "data", str(here / "x"), str(tmp_path / "store" / "data")):
        require_download_inside("s", root, tmp_path / "store")
    for root in (str(other), "../other", "link/data", "~"):
        with pytest.raises(RecordError, match=r"data\.root: the record would download to"):
            require_download_inside("s", root, tmp_path / "store")
    monkeypatch.setenv("KDSTUDY_DATA", str(other))
    require_download_inside("s", str(other), tmp_path / "store")


def test_resuming_a_record_that_would_download_elsewhere_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = spoilt("{name: digits, val_fraction: 0.2}", "{name: cifar10, root: /nowhere/else, download: true}")
    forge(folder, "UPDATE kdstudy_studies SET text = ?", text)
    assert run(["resume"]) == 1
    assert "data.root: the record would download to /nowhere/else" in capsys.readouterr().err


def test_files_of_a_student_are_its_own(tmp_path: Path) -> None:
    for name in ("own", "linked"):
        save_student(SPEC.build(seed=0), tmp_path / name, SPEC)
    for file in ("student.safetensors", "student.json"):
        (tmp_path / "linked" / file).unlink()
        (tmp_path / "linked" / file).symlink_to(tmp_path / "own" / file)
        with pytest.raises(ModelError, match="it is no file of this directory"):
            load_student(tmp_path / "linked")
    load_student(tmp_path / "own")


def test_a_device_is_no_file_of_weights() -> None:
    with pytest.raises(ModelError, match="/dev/zero cannot be read"):
        read_weights(Path("/dev/zero"))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"key": 1}', '{"key": "../x", "sha256": "", "val": 1, "seen": 1, "epochs": 1}']
)
def test_a_damaged_teacher_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "teacher.json").write_text(text)
    assert find_teacher(tmp_path) is None


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png"])
def test_annotations_cannot_name_images_outside_their_folder(tmp_path: Path, name: str) -> None:
    from PIL import Image

    (tmp_path / "annotations").mkdir()
    for part in ("train", "val"):
        (tmp_path / "images").mkdir(exist_ok=True)
        entries = {
            "images": [{"id": 1, "file_name": name}], "annotations": [],
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        }  # fmt: skip
        (tmp_path / "annotations" / f"instances_{part}.json").write_text(json.dumps(entries))
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    with pytest.raises(DataError, match="1 of 1 images"):
        load_data("coco", val_fraction=0.5, split_seed=0, root=tmp_path)


def test_a_checkpoint_that_holds_code_does_not_run_it(tmp_path: Path) -> None:
    import hashlib
    import pickle

    from kdstudy.training import CheckpointFolder

    class Code:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "ran",)

    for payload in (pickle.dumps(Code()), pickle.dumps({"student": Code()})):
        (tmp_path / "epoch-00001.pt").write_bytes(hashlib.sha256(payload).digest() + payload)
        assert CheckpointFolder(tmp_path).load() is None
    torch.save({"weights": Code()}, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="holds more than tensors"):
        read_weights(tmp_path / "weights.pt")
    assert not (tmp_path / "ran").exists()
