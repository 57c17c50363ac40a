"""How the commands that messages name must be typed here: the program's path, store, cluster, what is allowed.

Whoever writes a message names a command in its short form, ``kdstudy resume ID`` in quotes or backquotes; on the way to
the user it gets what this command line had.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdstudy.plugins import allowed_words
from kdstudy.settings import Settings

if TYPE_CHECKING:
    from kdstudy.analysis import Answer

SHARED = ("--store", "--ledger", "--tracking-uri", "--address")
"""Options that the next command needs if this one had them."""
READING = ("show", "compare", "report", "sync", "ui")
"""Commands that need no plug-in of a record that this version wrote."""
_COMMAND = re.compile(r"(?P<quote>[`'])kdstudy (?P<verb>[a-z]+)(?P<rest>(?: [^`']*)?)(?P=quote)")
_given: dict[str, str] = {}


def remember_options() -> None:
    """Remember what the command that runs was given."""
    context = click.get_current_context()
    _given.clear()
    for parameter in context.command.params:
        option, value = parameter.opts[0], context.params.get(str(parameter.name))
        if option in SHARED and isinstance(value, str):
            _given[option] = value


def forget_options() -> None:
    """Forget them."""
    _given.clear()


def spelled(command: click.Command | None, words: str) -> str:
    """Return a command as it must be typed.

    Args:
        command: What is called; it gets those options that it takes.
        words: ``kdstudy VERB ARGUMENTS``, without options that it shares with this one.
    """
    known = {option for parameter in command.params for option in parameter.opts} if command else set()
    options = [word for option, value in _given.items() if option in known for word in (option, value)]
    if "--allow-plugin" in known and command and command.name not in READING:
        said = {*Settings.read().allow_plugins, *words.split()}
        unasked = [word for word in allowed_words() if word not in said]
        options += [word for name in unasked for word in ("--allow-plugin", name)]
    return " ".join([program(), words.removeprefix("kdstudy "), *map(shlex.quote, options)])


def complete(text: str, group: click.Command | None = None) -> str:
    """Return a message with every command in quotes as it must be typed.

    Args:
        text: The message.
        group: All commands; None for those of the command line that runs.
    """
    commands = group or click.get_current_context().find_root().command
    assert isinstance(commands, click.Group)

    def in_full(found: re.Match[str]) -> str:
        command = commands.get_command(click.Context(commands), found["verb"])
        if command is None or any(option in found["rest"] for option in SHARED):
            return found[0]
        whole = spelled(command, found["verb"] + found["rest"])
        quote = "`" if "'" in whole else found["quote"]
        return quote + whole + quote

    return _COMMAND.sub(in_full, text)


def typed(text: str, answers: Iterable[Answer]) -> str:
    """Return the text of answers with their commands as they must be typed, each on one line."""
    for answer in answers:
        commands = [] if answer.take_home is None else [answer.take_home.command]
        for command in dict.fromkeys([*commands, *(lost.command for lost in answer.lost)]):
            broken = r"\s+".join(map(re.escape, command.split()))  # where a terminal's line ends
            in_full = complete(f"`{command}`").strip("`").replace("\\", r"\\")
            text = re.sub(rf"{broken}(?!\w)", in_full, text)
    return text


def program() -> str:
    """Return what starts this kdstudy in a shell: its name if that is on the path, else its path."""
    own = Path(sys.executable).parent / "kdstudy"
    found = shutil.which("kdstudy")
    if found is not None and (Path(found).absolute() == own or not own.is_file()):
        return "kdstudy"
    if not own.is_file():
        return f"{shlex.quote(sys.executable)} -m kdstudy"
    return shlex.quote(str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own))
