"""Commands that messages name can be typed as they stand there: the right program, store, cluster and permissions."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kdstudy.cli import cli, run, spelling
from kdstudy.cli.spelling import complete, program
from kdstudy.errors import StudyError
from kdstudy.plugins import allow_plugins

BIN = Path(sys.executable).parent


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with a kdstudy of its own."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    for name in ("python", "kdstudy"):
        (tmp_path / "venv" / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "venv" / "bin" / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    monkeypatch.setenv("PATH", "/usr/bin")
    return tmp_path


def test_a_program_that_is_not_on_the_path_is_named_by_its(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert program() == f"{elsewhere}/venv/bin/kdstudy"
    monkeypatch.chdir(elsewhere)
    assert program() == "venv/bin/kdstudy", "as after `make quickstart`"
    monkeypatch.setenv("PATH", f"/usr/bin:{elsewhere}/venv/bin")
    assert program() == "kdstudy"


def test_another_kdstudy_on_the_path_is_not_this_one(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "other").mkdir()
    (elsewhere / "other" / "kdstudy").write_text("#!/bin/sh\n")
    (elsewhere / "other" / "kdstudy").chmod(0o755)
    monkeypatch.setenv("PATH", f"{elsewhere}/other")
    assert program() == f"{elsewhere}/venv/bin/kdstudy"
    (elsewhere / "venv" / "bin" / "kdstudy").unlink()
    monkeypatch.setenv("PATH", "/usr/bin")
    assert program() == f"{elsewhere}/venv/bin/python -m kdstudy"


def test_each_command_gets_the_options_that_it_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spelling, "program", lambda: "kdstudy")
    (tmp_path / "my net.py").touch()
    (tmp_path / "mynet.py").touch()
    allow_plugins("package", str(tmp_path / "mynet.py"))
    monkeypatch.setattr(spelling, "_given", {"--store": "my store", "--address": "head:6379"})
    allowed = f"--allow-plugin package --allow-plugin {tmp_path}/mynet.py"
    assert complete("it waits; continue with `kdstudy resume x-1`", cli) == (
        f"it waits; continue with `kdstudy resume x-1 --store 'my store' --address head:6379 {allowed}`"
    )
    assert complete("see 'kdstudy list'", cli) == "see `kdstudy list --store 'my store'`"
    assert complete("`kdstudy datasets NAME`", cli) == f"`kdstudy datasets NAME {allowed}`"
    assert complete("`kdstudy report x-1`", cli) == "`kdstudy report x-1 --store 'my store'`", (
        "reading needs no plug-in"
    )
    said = "`kdstudy export x-1 -o student --allow-plugin package`"
    added = f"--store 'my store' --allow-plugin {tmp_path}/mynet.py"
    assert complete(said, cli) == f"{said[:-1]} {added}`", "what is said already is not said twice"
    kept = "let `kdstudy submit STUDY --address http://HOST:8265` do so; `kdstudy` and `kdstudy nonsense` stay"
    assert complete(kept, cli) == kept


def test_nothing_is_added_where_nothing_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spelling, "program", lambda: "kdstudy")
    monkeypatch.setenv("KDSTUDY_ALLOW_PLUGINS", "in_the_environment")
    monkeypatch.setattr(spelling, "_given", {})  # whatever the test before ran
    text = "continue with `kdstudy resume x-1`, or 'kdstudy list'"
    assert complete(text, cli) == text


def test_what_one_command_was_given_is_forgotten_with_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for store in ("a", None):
        assert run(["list", *(["--store", store] if store else [])]) == 1
        assert capsys.readouterr().err.endswith(f"run STUDY.yaml{' --store a' if store else ''}'\n")


def test_a_command_that_is_named_runs_as_it_stands(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-m", "kdstudy", "show", "x", "--store", "a b"]
    (tmp_path / "a b").mkdir()
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    named = shlex.split(done.stderr.partition("start one with `")[2].strip().removesuffix("`"))
    assert named[1:] == ["run", "STUDY.yaml", "--store", "a b"] or named[3:] == ["run", "STUDY.yaml", "--store", "a b"]
    again = subprocess.run(named, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "error: STUDY.yaml: cannot be read" in again.stderr, again.stderr


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_may_stand_anywhere(tmp_path: Path, place: int) -> None:
    arguments = ["check", str(tmp_path / "none.yaml")]
    assert run(arguments) == 1
    with pytest.raises(Exception, match="cannot be read"):
        run([*arguments[:place], "--debug", *arguments[place:]])


@pytest.mark.parametrize("where", ["top", "constructor"])
def test_a_plugin_that_raises_is_one_line_and_debug_shows_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    body = "1 / 0" if where == "top" else "def net(num_classes, in_channels):\n    return 1 / 0"
    (tmp_path / f"broken_{where}.py").write_text(f"{body}\n")
    text = (Path(__file__).parents[2] / "studies" / "smoke.yaml").read_text()
    text = text.replace("student: {model: resnet8}", f"student: {{model: 'broken_{where}:net'}}")
    (tmp_path / "study.yaml").write_text(text)
    arguments = ["check", str(tmp_path / "study.yaml"), "--allow-plugin", f"broken_{where}"]
    assert run(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line.startswith(f"error: {tmp_path}/study.yaml:7: student.model") and "ZeroDivisionError: division by" in line
    )
    assert "--debug" in line
    with pytest.raises(StudyError) as caught:
        run([*arguments, "--debug"])
    deepest: BaseException = caught.value
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    assert isinstance(deepest, ZeroDivisionError)


def test_every_command_that_opens_a_record_or_a_file_takes_plugins() -> None:
    import click

    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        options = {option for parameter in command.params for option in parameter.opts}
        if name not in (
            "init",
            "schema",
            "list",
            "delete",
            "rename",
            "archive",
        ):  # none reads more of a study than its line in the ledger
            assert "--allow-plugin" in options, name
