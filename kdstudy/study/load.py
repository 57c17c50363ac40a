"""Reading a study file: every problem at once, each with its line."""

from __future__ import annotations

from pathlib import Path

from kdstudy.errors import StudyError
from kdstudy.study.build import build
from kdstudy.study.checks import check_study
from kdstudy.study.diagnostics import Place
from kdstudy.study.schema import StudyFile
from kdstudy.study.study import Study
from kdstudy.study.validate import Reader
from kdstudy.study.yaml_text import parse_text, read_text


def load_study(path: Path | str) -> Study:
    """Read and check the study file at ``path``; nothing is run or created.

    Raises:
        StudyError: The file cannot be read or is wrong; one line per problem, all of them.
    """
    return parse_study(read_text(Path(path)), str(path))


def parse_study(text: str, where: str = "study", *, recorded: bool = False) -> Study:
    """Read and check a study file's text.

    Args:
        text: YAML.
        where: What messages call it.
        recorded: Whether a record holds it, of a version that kept nothing beside it: it then means what it meant.

    Raises:
        StudyError: As `load_study`.
    """
    tree, problems = parse_text(text, where)
    reader = Reader(problems, recorded=recorded, silent_then=recorded)
    parsed = reader.section(StudyFile, tree, Place())
    check_study(parsed, reader)
    if problems:
        raise StudyError(problems.told()) from problems.cause
    return Study.of(build(StudyFile, parsed), text)
