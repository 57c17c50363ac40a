"""What the documents tell a reader to type must exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from kdstudy.cli import cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    path
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "studies").glob("*.md")),
    )
    if path.exists()
]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def commands(path: Path) -> list[str]:
    """Every line of a shell block, and every code span that starts like a command."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh|bash|console|shell)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return lines + re.findall(r"`((?:kdstudy|make) [^`]+)`", prose)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(path: Path) -> None:
    for command in commands(path):
        words = command.split("#")[0].split()
        if words[:1] == ["make"]:
            targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
            assert set(targets) <= TARGETS, command


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_kdstudy_commands_and_options_exist(path: Path) -> None:
    context = click.Context(cli)
    for command in commands(path):
        words = shlex.split(command, comments=True) if "'" not in command else command.split()
        if words[:1] != ["kdstudy"] or len(words) < 2 or words[1].startswith("-"):
            continue
        names = [words[1]] if "|" not in words[1] else words[1].split("|")
        for name in names:
            verb = cli.get_command(context, name)
            assert verb is not None, f"{path.name}: {command}"
            known = {option for parameter in verb.params for option in parameter.opts} | {"--help"}
            used = {word.partition("=")[0].strip("[],.") for word in words[2:] if word.lstrip("[").startswith("--")}
            assert used <= known, f"{path.name}: {command}: {used - known}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (path.parent / target).exists(), target


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {line.split()[0] for line in shown.stdout.splitlines()} == TARGETS


def test_every_requirement_is_pinned() -> None:
    import tomllib

    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = table["project"], table["dependency-groups"]
    wanted = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
        *(line for lines in groups.values() for line in lines if isinstance(line, str)),
        "pip",  # which reads the groups
    ]
    names = {re.split(r"[\[<>=~! ]", line)[0].lower().replace("_", "-") for line in wanted}
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines), "exact pins, no hosts"
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    assert names <= pinned
