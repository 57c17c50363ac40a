"""What a shell completes, asked as bash, zsh and fish ask; and that it is light."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from kdstudy.cli import COMMANDS, cli
from kdstudy.ledger import Ledger
from kdstudy.plugins import POLICIES
from tests.confirmed import record


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("KDSTUDY_STORE", "KDSTUDY_LEDGER"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def completed(*words: str) -> list[str]:
    """Return what is proposed for the last word."""
    *before, last = words
    return [item.value for item in ShellComplete(cli, {}, "kdstudy", "").get_completions(before, last)]


def make_study(store: Path) -> str:
    with Ledger.open(f"sqlite:///{store}/ledger.db", create=True) as ledger:
        record(ledger, {"attention/constant": [(0.5,)], "attention/layerwise": [(0.6,)]})
        return ledger.resolve("latest")


@pytest.mark.parametrize("command", ["show", "resume", "confirm", "reproduce", "export", "sync", "delete", "compare",
                                     "report", "ui"])  # fmt: skip
def test_the_ids_of_the_store(command: str, folder: Path) -> None:
    study_id = make_study(folder / "kdstudy-data")
    assert completed(command, "") == [study_id, "latest"]
    assert completed(command, study_id[:3]) == [study_id]
    assert completed(command, "zzz") == []
    if command in ("compare", "report", "ui"):
        assert completed(command, study_id, "la") == ["latest"]


def test_the_ids_of_the_store_that_the_line_names(folder: Path) -> None:
    study_id = make_study(folder / "elsewhere")
    assert completed("show", "--store", "elsewhere", "") == [study_id, "latest"]
    assert completed("run", "--store", "elsewhere", "--warm-start", "") == [study_id, "latest"]
    assert completed("check", "--store", "elsewhere", "--like", study_id[:4]) == [study_id]


def test_without_a_record_nothing_is_proposed_or_created(folder: Path) -> None:
    assert completed("show", "") == []
    assert completed("show", "--store", "a?b", "") == []
    assert not [*folder.iterdir()]


def test_study_files_else_paths(folder: Path) -> None:
    for name in ("b.yaml", "a.yml", "notes.txt", "studies/c.yaml"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    for command in ("run", "check", "submit"):
        assert completed(command, "") == ["a.yml", "b.yaml"]
    assert completed("run", "b") == ["b.yaml"]
    assert completed("run", "studies/") == ["studies/c.yaml"]
    assert completed("run", "./studies/c") == ["./studies/c.yaml"]
    assert completed("run", str(folder / "b")) == [str(folder / "b.yaml")]
    (item,) = ShellComplete(cli, {}, "kdstudy", "").get_completions(["run"], "stu")
    assert (item.value, item.type) == ("stu", "file"), "the shell goes on, into folders too"


def test_commands_plugins_and_studies_to_begin_with() -> None:
    assert completed("") == list(COMMANDS)
    assert completed("re") == ["resume", "report", "reproduce", "rename"]
    assert completed("policies", "") == list(POLICIES)
    assert completed("policies", "lay") == ["layerwise"]
    assert completed("init", "q") == ["quickstart", "question-cifar10", "question-cifar100", "question-coco"]
    assert "--force" in completed("init", "--f")


@pytest.mark.parametrize(
    ("shell", "variables", "told"),
    [
        ("bash", {"COMP_WORDS": "kdstudy policies lay", "COMP_CWORD": "2"}, "plain,layerwise\n"),
        ("zsh", {"COMP_WORDS": "kdstudy policies lay", "COMP_CWORD": "2"}, "plain\nlayerwise\n_\n"),
        ("fish", {"COMP_WORDS": "kdstudy policies lay", "COMP_CWORD": "lay"}, "layerwise"),
    ],
)
def test_the_program_answers_a_shell_and_imports_nothing_heavy(
    shell: str, variables: dict[str, str], told: str
) -> None:
    code = (
        "import atexit, sys; from kdstudy.cli import main; "
        "heavy = {'torch', 'ray', 'mlflow'}; "
        "atexit.register(lambda: print(*heavy & {*sys.modules}, file=sys.stderr)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables, "_KDSTUDY_COMPLETE": f"{shell}_complete"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told in done.stdout
    assert done.stderr.strip() == ""
