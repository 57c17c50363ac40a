"""What users read of types, defaults and networks is what a study file writes, never Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le
from pydantic import Field

from kdstudy.cli import COMMANDS, run
from kdstudy.cli.type_words import type_words
from kdstudy.plugins import DATASETS, MODELS, OPTIMIZERS, POLICIES, PRUNERS, SAMPLERS, SCHEDULES, TRANSFERS
from kdstudy.study import flow_text
from tests.study.files import STUDY

REGISTRIES = {
    "transfers": TRANSFERS, "policies": POLICIES, "models": MODELS, "datasets": DATASETS, "samplers": SAMPLERS,
    "schedules": SCHEDULES, "pruners": PRUNERS, "optimizers": OPTIMIZERS,
}  # fmt: skip


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[float, Ge(0)] | None, "number from 0, or nothing"),
        (Annotated[int, Field(ge=1, le=5)], "whole number from 1 to 5"),
        (Annotated[float, Gt(0), Le(1)], "number above 0 to 1"),
        (Literal["off", "layers"], "'off' or layers"),
        (list[Annotated[int, Ge(1)]], "list, each a whole number from 1"),
        (tuple[int, str], "list of 2: whole number, text"),
        (Mapping[str, bool], "mapping of text to true or false"),
        (bool, "true or false"),
        (Any, "any value"),
    ],
)
def test_types_are_words(annotation: Any, words: str) -> None:
    assert type_words(annotation) == words


@pytest.mark.parametrize("command", REGISTRIES)
def test_no_plug_in_is_documented_in_python(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command in COMMANDS
    for name in REGISTRIES[command]:
        assert run([command, name]) == 0
        options = [line for line in capsys.readouterr().out.partition("\n\n")[0].splitlines() if line.startswith("  ")]
        told = "\n".join(options)
        for python in (
            "Annotated",
            "Optional",
            "Literal",
            "tuple[",
            "list[",
            "Union",
            "None",
            "True",
            "False",
            "<class",
        ):
            assert python not in told, f"{name}: {told}"


def test_check_echoes_networks_as_the_file_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    assert run(["check", str(tmp_path / "study.yaml"), "--layers"]) == 0
    told = capsys.readouterr().out
    assert "student {choice: [" in told
    assert "{resnet14: {shortcut: A}}" in told
    assert "'" not in told.replace("'off'", "").partition("data digits")[0].rpartition("student")[2]


@pytest.mark.parametrize(
    ("value", "text"),
    [({"resnet8": {"width": 16}}, "{resnet8: {width: 16}}"), (None, "null"), (True, "true"), ("off", "'off'"),
     ((1, 2), "[1, 2]"), (1e-3, "0.001"), ({"a": [None, "x y"]}, "{a: [null, x y]}")],
)  # fmt: skip
def test_values_are_flow_yaml(value: Any, text: str) -> None:
    assert flow_text(value) == text
