"""Reading a study file, or a mapping of the same content: every problem at once, each with its line."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import yaml

from kdstudy.errors import StudyError
from kdstudy.plugins import allow_beside
from kdstudy.study.build import build
from kdstudy.study.checks import check_study
from kdstudy.study.diagnostics import Place, Problems
from kdstudy.study.own_files import with_files_at
from kdstudy.study.schema import StudyFile
from kdstudy.study.study import Study
from kdstudy.study.validate import Reader
from kdstudy.study.yaml_text import parse_text, read_text, write_text


def load_study(path: Path | str, folder: Path | None = None) -> Study:
    """Read and check the study file at ``path``; nothing is run or created.

    Its relative paths are meant from the file's folder and become absolute, so that whatever is done with the study,
    from wherever, finds the same files. Modules beside it can be imported if they were allowed: see
    `kdstudy.plugins.allow_beside`.

    Args:
        path: The study file.
        folder: From where its relative paths are meant; None for its own folder.

    Raises:
        StudyError: The file cannot be read or is wrong; one line per problem, all of them.
    """
    text = read_text(Path(path))
    allow_beside(Path(path))
    return _placed(parse_study(text, str(path)), folder or _folder_of(Path(path)))


def study_of(values: Mapping[str, Any], where: str = "study") -> Study:
    """Read and check a study that is given as a mapping, such as Python writes; its text is the YAML of it.

    Its relative paths are meant from the working directory.

    Args:
        values: What a study file would hold: plain values, paths as well.
        where: What messages call it.

    Raises:
        StudyError: As `load_study`; or a value is none that a file could hold.
    """
    try:
        text = write_text(_plain(values))
    except yaml.YAMLError as error:
        told = f"{where}: holds what no study file can, got {type(error.args[-1]).__name__}; write plain values"
        raise StudyError([told]) from error
    return _placed(parse_study(text, where), Path.cwd())


def _plain(value: Any) -> Any:
    """Return a value with numbers, lists and paths of other libraries as Python's own."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    kind = next((kind for kind, whole in ((int, Integral), (float, Real)) if isinstance(value, whole)), None)
    return value if kind is None or isinstance(value, bool) else kind(value)


def _placed(study: Study, start: Path) -> Study:
    """Return a study with its relative paths meant from ``start``, absolute."""

    def place(written: str) -> str:
        return _absolute(written, start) or written

    teacher, student = study.teacher, study.student
    return dataclasses.replace(
        study,
        data=dataclasses.replace(study.data, root=_absolute(study.data.root, start)),
        teacher=dataclasses.replace(
            teacher, path=_absolute(teacher.path, start), model=with_files_at(teacher.model, place)
        ),
        student=dataclasses.replace(student, model=with_files_at(student.model, place)),
    )


def _folder_of(file: Path) -> Path:
    """Return the folder that a study file is in; of a pipe, such as /dev/stdin, the one that the user stands in."""
    piped = file.absolute().is_relative_to("/dev") or file.absolute().is_relative_to("/proc")
    return Path.cwd() if piped else file.parent.resolve()


def _absolute(path: str | None, folder: Path) -> str | None:
    """Return a path of a study file, meant from ``folder``; None, and the location of a bucket, stay what they are."""
    if path is None or "://" in path:
        return path
    return os.path.normpath(folder / os.path.expanduser(path))  # noqa: PTH111 - Path's raises for users unknown here


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


def problems_of(study: Study, where: str) -> Problems:
    """Return an empty list of problems of a study that knows the lines of its file.

    Args:
        study: Read from a file, or from a record.
        where: What messages call it.
    """
    try:
        return parse_text(study.text, where)[1]
    except StudyError:  # a record of what no version would read today
        return Problems(where)
