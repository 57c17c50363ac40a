"""The files that services read: they parse, and say the same as the Makefile and pyproject.toml."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import kdstudy

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
FILES = [
    ROOT / ".pre-commit-config.yaml",
    ROOT / "CITATION.cff",
    *sorted((ROOT / ".github").rglob("*.yml")),
]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps() -> Iterator[dict[str, str]]:
    """Every step of every job of the workflow."""
    for job in read(WORKFLOW)["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_a_mapping_without_tabs_or_duplicates(path: Path) -> None:
    found = read(path)
    assert isinstance(found, dict)
    top = re.findall(r"^([A-Za-z_-]+):", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(top) == len(found), "a key stands twice"


def test_the_workflow_calls_what_any_machine_can() -> None:
    commands = [step["run"] for step in steps() if "run" in step]
    assert ".ci/run" in commands
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "make ${{ matrix.target }}" in commands
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(read(WORKFLOW)["jobs"]["versions"]["strategy"]["matrix"]["target"]) <= rules


def test_the_workflow_runs_on_every_python_that_the_package_allows() -> None:
    allowed = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    run = read(WORKFLOW)["jobs"]["run"]
    assert run["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in range(30) if f"3.{minor}" in allowed]
    assert run["container"]["image"].startswith("python:${{ matrix.python }}-")


def test_actions_are_pinned_by_their_major_version() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used), used


def test_hooks_run_the_programs_that_make_lint_runs() -> None:
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert lint is not None
    programs = set(re.findall(r"\$\(BIN\)/(\w+)", lint[1]))
    entries = [hook["entry"] for repo in read(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert {entry.split()[0] for entry in entries} == {f".venv/bin/{program}" for program in programs}


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert citation["version"] == kdstudy.__version__
    assert [entry["url"] for entry in citation["references"]] == ["https://arxiv.org/abs/2407.04871"]
