"""The release workflow: what a tag builds is what is tested and what is published, and nothing else is."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.specifiers import SpecifierSet

import kdstudy
from kdstudy.cli import cli

ROOT = Path(__file__).parents[1]
WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
JOBS: dict[str, Any] = WORKFLOW["jobs"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_it_runs_on_a_versions_tag_or_by_hand() -> None:
    assert WORKFLOW[True] == {"push": {"tags": ["v*"]}, "workflow_dispatch": None}  # YAML 1.1 reads `on` as true


def test_only_a_tag_publishes_and_only_what_was_tested() -> None:
    assert JOBS["test"]["needs"] == "build"
    assert JOBS["publish"]["needs"] == "test"
    assert JOBS["publish"]["if"] == "github.event_name == 'push' && startsWith(github.ref, 'refs/tags/v')"
    uploads = [step["with"]["name"] for step in JOBS["build"]["steps"] if "upload-artifact" in step.get("uses", "")]
    for job in ("test", "publish"):
        downloads = [step["with"]["name"] for step in JOBS[job]["steps"] if "download-artifact" in step.get("uses", "")]
        assert downloads == uploads == ["dist"]
        assert not [step for step in JOBS[job]["steps"] if "checkout" in step.get("uses", "")], "the files alone"


def test_it_may_do_no_more_than_it_needs_and_holds_no_secret() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert {name: job["permissions"] for name, job in JOBS.items() if "permissions" in job} == {
        "publish": {"id-token": "write"}
    }
    assert JOBS["publish"]["environment"] == "pypi"
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")


def test_actions_are_pinned_by_their_major_version() -> None:
    used = [step["uses"] for job in JOBS.values() for step in job["steps"] if "uses" in step]
    pinned = r"actions/[a-z-]+@v\d+|pypa/gh-action-pypi-publish@release/v1"
    assert all(re.fullmatch(pinned, action) for action in used), used


def test_the_files_are_tested_on_all_that_the_package_says_it_runs_on() -> None:
    allowed = SpecifierSet(PROJECT["requires-python"])
    matrix = JOBS["test"]["strategy"]["matrix"]
    assert matrix["python"] == [f"3.{minor}" for minor in range(30) if f"3.{minor}" in allowed]
    said = {line.rpartition("Python :: ")[2] for line in PROJECT["classifiers"] if "Python :: " in line}
    assert said == set(matrix["python"])
    systems = {line.rpartition(" :: ")[2] for line in PROJECT["classifiers"] if line.startswith("Operating System")}
    assert systems == {"Linux", "MacOS"}
    assert matrix["system"] == ["ubuntu-latest", "macos-latest"]


def test_it_runs_commands_that_exist() -> None:
    commands = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]
    called = [words for line in commands for part in line.split("&&") if (words := shlex.split(part))[0] == "kdstudy"]
    assert len(called) == 6
    for words in called:
        assert words[1] == "--version" or cli.get_command(click.Context(cli), words[1]) is not None, words
    assert any("twine check --strict dist/*" in command for command in commands)


@pytest.mark.parametrize(
    ("heading", "tag", "code"),
    [
        (f"## [{kdstudy.__version__}] - 2027-01-31", f"v{kdstudy.__version__}", 0),
        (f"## [{kdstudy.__version__}] - 2027-01-31", "v9.9.9", 1),
        (f"## [{kdstudy.__version__}] - 2027-01-31", kdstudy.__version__, 1),
        ("## [Unreleased]", f"v{kdstudy.__version__}", 1),
    ],
)
def test_a_tag_that_is_not_the_version_or_not_in_the_changelog_stops_it(
    tmp_path: Path, heading: str, tag: str, code: int
) -> None:
    (script,) = (step["run"] for step in JOBS["build"]["steps"] if "tag" in step.get("name", ""))
    (tmp_path / "kdstudy").mkdir()
    for name in ("kdstudy/__init__.py", "CITATION.cff"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("## [Unreleased]", heading)
    (tmp_path / "CHANGELOG.md").write_text(changes, encoding="utf-8")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "GITHUB_REF_NAME": tag},
        check=False,
    )
    assert done.returncode == code


def test_the_changelog_is_ready_to_be_tagged() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[0] == "## [Unreleased]" or kdstudy.__version__ in headings[0]
    kinds = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}, "Keep a Changelog's words"


def test_the_version_stands_in_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in PROJECT
