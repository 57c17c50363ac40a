"""What a cluster is asked to run: a driver that does not stay in the job's folder, which may vanish under it."""

from __future__ import annotations

import importlib
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from kdstudy import cli
from kdstudy.cluster import Places, submit
from kdstudy.errors import StudyError
from kdstudy.plugins import allow_plugins, trust
from kdstudy.study import load_study
from tests.configs import TEXT


class Jobs:
    """Stands in for Ray's client of a dashboard."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.sent: set[str] = set()

    def submit_job(self, **asked: Any) -> str:
        self.asked = asked
        folder = Path(asked["runtime_env"]["working_dir"])
        self.sent = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        return "job-1"


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    found = Jobs()
    monkeypatch.setattr(importlib.import_module("kdstudy.cluster.submit"), "_client", lambda _address: found)
    return found


def test_a_submitted_driver_leaves_the_jobs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, jobs = tmp_path / "tiny.yaml", Jobs()
    study.write_text(TEXT.format(transfer="none", policy="constant", epochs=1, base_lr=0.1))
    monkeypatch.setattr(importlib.import_module("kdstudy.cluster.submit"), "_client", lambda _address: jobs)
    assert submit(study, "http://head:8265", Places("/shared/store", None, None)) == "job-1"
    words = shlex.split(jobs.asked["entrypoint"].replace("$RAY_ADDRESS", "head:6379"))
    assert words[:4] == ["python", "-m", "kdstudy", "run"]
    monkeypatch.setattr(cli, "run", cli.run)  # a module of that name takes its place when it is imported
    given = importlib.import_module("kdstudy.cli.run").run_command.make_context("run", words[4:]).params
    assert (given["path"], given["address"], given["leave"]) == (Path("tiny.yaml"), "head:6379", True)
    assert given["root"] == "/shared/store"


PLACES = Places("/shared/store", None, None)


def file(folder: Path, **changes: str) -> Path:
    text = TEXT.format(transfer="none", policy="constant", epochs=1, base_lr=0.1)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "tiny.yaml").write_text(text)
    return folder / "tiny.yaml"


def test_modules_beside_the_study_file_are_sent_and_allowed_there(
    tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "_allowed", {})
    (tmp_path / "far" / "ownpackage").mkdir(parents=True)
    (tmp_path / "far" / "ownpackage" / "__init__.py").write_text("")
    (tmp_path / "ownmethod_b.py").write_text("from kdstudy.transfer.none import NoTransfer as Own\n")
    (tmp_path / "secret.txt").write_text("not to be sent")
    allow_plugins("ownmethod_b", str(tmp_path / "far" / "ownpackage"))
    study = file(tmp_path, **{"[none]": "['ownmethod_b:Own']"})
    load_study(study)
    submit(study, "http://head:8265", PLACES)
    assert {"tiny.yaml", "ownmethod_b.py", "ownpackage/__init__.py"} <= jobs.sent
    assert "secret.txt" not in jobs.sent
    words = shlex.split(jobs.asked["entrypoint"])
    allowed = {words[place + 1] for place, word in enumerate(words) if word == "--allow-plugin"}
    assert allowed - {"tests"} == {"./ownmethod_b.py", "./ownpackage"}


@pytest.mark.parametrize(
    ("old", "key", "new"),
    [
        ("name: synthetic", "data.root", "name: imagefolder, root: here"),
        ("resnet8, epochs: 1", "teacher.path", "resnet8, path: here"),
    ],
)
def test_relative_paths_are_meant_from_the_study_files_folder(
    old: str, key: str, new: str, tmp_path: Path, jobs: Jobs
) -> None:
    study = file(tmp_path, **{old: new})
    with pytest.raises(StudyError) as caught:
        submit(study, "http://head:8265", PLACES)
    (problem,) = caught.value.problems
    assert f"{key}: a relative path is meant from the study file's folder, and {tmp_path}/here is not there" in problem
    assert jobs.asked == {}
    (tmp_path / "here").mkdir()
    submit(study, "http://head:8265", PLACES)
    words = shlex.split(jobs.asked["entrypoint"])
    assert words[words.index("--meant-from") + 1] == str(tmp_path)
    (tmp_path / "job").mkdir()
    there = load_study(shutil.copy(study, tmp_path / "job"), tmp_path)
    assert str(tmp_path / "here") in (there.data.root, there.teacher.path)
    submit(file(tmp_path, **{old: new.replace("here", "/data/x")}), "http://head:8265", PLACES)
    assert "--meant-from" not in jobs.asked["entrypoint"], "an absolute path is one of the nodes"
