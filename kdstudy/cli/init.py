"""``init``: write a study file to begin with into the working directory."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from kdstudy.cli.options import json_option, print_json
from kdstudy.cli.spelling import complete
from kdstudy.errors import StoreError, StudyError, did_you_mean
from kdstudy.study import SCHEMA_FILE

STUDIES = Path(__file__).with_name("studies")
"""The files of studies/: in a checkout a link to it, in an installed package a folder of copies."""
FIRST = ("quickstart", "imagefolder", "cifar10")
"""What is listed first: made to begin with; others are whole studies that answered something, or will."""
MODELINE = "# yaml-language-server: $schema="


@click.command("init")
@click.argument(
    "name",
    metavar="[NAME]",
    default=FIRST[0],
    shell_complete=lambda _context, _parameter, incomplete: [
        CompletionItem(name) for name in study_names() if name.startswith(incomplete)
    ],
)
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="[NAME.yaml, here]")
@click.option("--force", is_flag=True, help="Overwrite the file if there is one.")
@click.option("--list", "listed", is_flag=True, help="List what NAME may be, and write nothing.")
@json_option
def init_command(name: str, output: Path | None, *, force: bool, listed: bool, as_json: bool) -> None:
    """Write a commented study file to begin with: NAME.yaml, for `kdstudy run`.

    Without NAME it is `quickstart`, a whole study on bundled images that takes minutes. A module that the study names
    goes beside it. Its first line tells editors
    where this kdstudy's schema is, so that they complete keys and mark mistakes.
    """
    if listed:
        _list(as_json)
        return
    target = output or Path(f"{name.removesuffix('.yaml')}.yaml")
    write_study(name, target, force=force)
    if as_json:
        print_json({"path": str(target)})
        return
    click.echo(f"{target} is written; next:")
    for command, meaning in (
        (f"check {target}", "what is missing, and what it will cost"),
        (f"run {target}", "the study"),
        ("init --list", "other studies to begin with"),
    ):
        click.echo(f"  {complete(f'`kdstudy {command}`').strip('`')}\n    {meaning}")


def study_names() -> list[str]:
    """Return what can be written, those first that are made to begin with."""
    return [*FIRST, *sorted(path.stem for path in STUDIES.glob("*.yaml") if path.stem not in FIRST)]


def write_study(name: str, target: Path, *, force: bool = False) -> None:
    """Write a study file whose first line names the schema of this kdstudy, wherever that is installed.

    Args:
        name: One of `study_names`.
        target: Where to.
        force: Whether a file that is there may be replaced.

    Raises:
        StudyError: No such study, or the file is there.
        StoreError: It cannot be written.
    """
    name = name.removesuffix(".yaml")
    if name not in study_names():
        raise StudyError([f"init: no study to begin with is called '{name}'; {did_you_mean(name, study_names())}"])
    first, _, rest = (STUDIES / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")
    assert first.startswith(MODELINE), f"{name}: the first line names the schema"
    _write(target, f"{MODELINE}{SCHEMA_FILE.as_uri()}\n{rest}", "-o FILE writes another", force=force)
    for module in sorted(STUDIES.glob("*.py")):
        beside, code = target.with_name(module.name), module.read_text(encoding="utf-8")
        if f"{module.stem}:" in rest and not (beside.is_file() and beside.read_bytes() == code.encode()):
            _write(beside, code, "or move it away", force=force)


def _write(target: Path, text: str, otherwise: str, *, force: bool) -> None:
    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise StudyError([f"init: {target} is there already; --force overwrites it, {otherwise}"]) from error
    except OSError as error:
        raise StoreError(f"init: {target} cannot be written ({error.strerror})") from error


def _list(as_json: bool) -> None:
    found = [(name, _summary(STUDIES / f"{name}.yaml")) for name in study_names()]
    if as_json:
        print_json([{"name": name, "summary": summary} for name, summary in found])
        return
    width = max(len(name) for name, _ in found)
    for name, summary in found:
        click.echo(f"{name.ljust(width)}  {summary}")


def _summary(path: Path) -> str:
    """Return the first sentence of a study file's comment."""
    words = []
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        if not line.startswith("#"):
            break
        words += line.removeprefix("#").split()
    end = next((index for index, word in enumerate(words) if word[-1] in ".?"), len(words) - 1)
    return " ".join(words[: end + 1])
