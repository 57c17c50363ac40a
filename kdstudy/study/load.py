"""Reading a study file: every problem at once, each with its line."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

from kdstudy.errors import StudyError
from kdstudy.study.build import build
from kdstudy.study.checks import check_study
from kdstudy.study.diagnostics import Place
from kdstudy.study.schema import StudyFile
from kdstudy.study.study import Arm, Study
from kdstudy.study.validate import Reader
from kdstudy.study.yaml_text import parse_text, read_text


def load_study(path: Path | str) -> Study:
    """Read and check the study file at ``path``; nothing is run or created.

    Raises:
        StudyError: The file cannot be read or is wrong; one line a problem, all of them.
    """
    return parse_study(read_text(Path(path)), str(path))


def parse_study(text: str, where: str = "study") -> Study:
    """Read and check a study file's text.

    Args:
        text: YAML.
        where: What messages call it.

    Raises:
        StudyError: As `load_study`.
    """
    tree, problems = parse_text(text, where)
    reader = Reader(problems)
    parsed = reader.section(StudyFile, tree, Place())
    check_study(parsed, reader)
    if problems:
        raise StudyError(problems.told())
    file = build(StudyFile, parsed)
    arms = tuple(Arm(*pair) for pair in itertools.product(file.arms.transfers, file.arms.policies))
    search = file.search
    if search.budget is not None and "trials" in search.budget:
        search = replace(search, trials_per_arm=int(search.budget["trials"]) // len(arms))
    return Study(
        name=file.name,
        seed=file.seed,
        data=file.data,
        teacher=file.teacher,
        student=file.student,
        train=file.train,
        arms=arms,
        search=search,
        confirm=file.confirm,
        resources=file.resources,
        numerics=file.numerics,
        cache=file.cache,
        layers=file.layers,
        text=text,
    )
