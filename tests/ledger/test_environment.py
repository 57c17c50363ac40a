from __future__ import annotations

import copy
import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from kdstudy.ledger import environment


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("old\n")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_captures_what_the_numbers_depend_on(tmp_path: Path) -> None:
    found = environment.capture_environment(tmp_path)
    assert found["python"] == platform.python_version()
    assert found["versions"]["torch"] == metadata.version("torch")
    assert found["packages"]["pytest"] == metadata.version("pytest")
    assert found["cpu"]["cores"] >= 1
    assert found["git"]["directory"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_no_secret_and_nothing_personal_is_captured(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    git(checkout, "remote", "add", "origin", "https://user:hunter2@example.org/x.git")
    text = json.dumps(environment.capture_environment(checkout))
    assert "hunter2" not in text
    assert str(checkout) not in text


def test_a_checkout_is_its_commit_and_its_uncommitted_changes(checkout: Path) -> None:
    clean = environment.capture_environment(checkout)["git"]["directory"]
    assert clean["commit"] == git(checkout, "rev-parse", "HEAD").strip()
    assert (clean["dirty"], clean["diff"], clean["untracked"]) == (False, "", 0)
    (checkout / "file").write_text("new\n")
    (checkout / "other").write_text("unknown\n")
    dirty = environment.capture_environment(checkout)["git"]["directory"]
    assert (dirty["dirty"], dirty["untracked"]) == (True, 1)
    assert "-old\n+new\n" in dirty["diff"]
    subfolder = checkout / "sub"
    subfolder.mkdir()
    assert environment.capture_environment(subfolder)["git"]["directory"] == dirty


def test_a_large_diff_is_cut_but_still_told_apart(checkout: Path) -> None:
    seen = set()
    for last in ("a", "b"):
        (checkout / "file").write_text("x" * (environment.MAX_DIFF_BYTES + 1000) + last)
        found = environment.capture_environment(checkout)["git"]["directory"]
        assert found["diff_truncated"]
        assert len(found["diff"].encode()) <= environment.MAX_DIFF_BYTES
        seen.add(found["diff_sha256"])
    assert len(seen) == 2


def test_a_repository_cannot_make_us_run_a_program(checkout: Path) -> None:
    trap = checkout / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {checkout}/ran\n")
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "diff.trap.textconv"):
        git(checkout, "config", key, str(trap))
    (checkout / ".gitattributes").write_text("file diff=trap\n")
    (checkout / "file").write_text("new\n")
    assert environment.capture_environment(checkout)["git"]["directory"]["dirty"]
    assert not (checkout / "ran").exists()


def test_an_environment_does_not_differ_from_itself(checkout: Path) -> None:
    assert (
        environment.environment_differences(
            environment.capture_environment(checkout), environment.capture_environment(checkout)
        )
        == []
    )


def test_differences_name_the_field_and_both_sides_what_matters_first(checkout: Path) -> None:
    old = environment.capture_environment(checkout)
    new = copy.deepcopy(old)
    del new["packages"]["pytest"]
    new["versions"]["torch"] = new["packages"]["torch"] = "9.9"
    new["git"]["directory"]["commit"] = "other"
    assert environment.environment_differences(old, new) == [
        {"field": "versions.torch", "recorded": old["versions"]["torch"], "here": "9.9"},
        {"field": "git.directory.commit", "recorded": old["git"]["directory"]["commit"], "here": "other"},
        {"field": "packages.pytest", "recorded": old["packages"]["pytest"], "here": None},
    ]
