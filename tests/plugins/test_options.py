"""Options of users' plug-ins: read from their signatures, and refused with how to write them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from annotated_types import Gt
from torch import nn

from kdstudy.cli import run
from kdstudy.errors import PluginError, StudyError
from kdstudy.plugins import (
    DATASETS,
    MODELS,
    OPTIMIZERS,
    POLICIES,
    PRUNERS,
    SAMPLERS,
    SCHEDULES,
    TRANSFERS,
    allow_plugins,
)
from kdstudy.study import Study, parse_study
from tests.study.files import spoilt


@pytest.fixture(autouse=True)
def _allowed() -> None:
    allow_plugins("tests", "raising_on_import")


class Bare(nn.Module):
    def __init__(self, num_classes=3, in_channels=3, *, width=16) -> None:  # type: ignore[no-untyped-def]
        super().__init__()


class Loose(Bare):
    def __init__(self, num_classes: int, in_channels: int, *, width: Any = 16) -> None: ...


class Ordinary(Bare):
    def __init__(self, num_classes: int = 3, in_channels: int = 3, width: int = 16, depth: int = 2) -> None: ...


class Typed(Bare):
    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        width: Annotated[int, Gt(0)] = 16,
        stages: dict[str, Any] | None = None,
    ) -> None: ...


class Defaults(Bare):
    """Defaults that no study file can hold."""

    def __init__(  # type: ignore[no-untyped-def]
        self,
        num_classes: int,
        in_channels: int,
        *,
        norm=nn.BatchNorm2d,
        act: nn.Module = nn.ReLU(),  # noqa: B008
        pool: type[nn.Module] = nn.AvgPool2d,
        width: int = 16,
    ) -> None: ...


class Demanding(Bare):
    def __init__(self, num_classes: int, in_channels: int, width: int) -> None: ...


class OneArgument(Bare):
    def __init__(self, num_classes: int) -> None: ...


class Undefined(Bare):
    def __init__(self, num_classes: int, in_channels: int, *, width: Missing = 16) -> None: ...  # type: ignore[name-defined]  # noqa: F821


class Method:
    def __init__(self, context: Any, *, strength=1.0) -> None: ...  # type: ignore[no-untyped-def]


class Rule:
    def __init__(self, layers: Any, factors: Any) -> None: ...


def study(name: str, options: str) -> Study:
    student = "model: {choice: [resnet8, {resnet14: {shortcut: A}}]}"
    return parse_study(spoilt(student, f"model: {{'{__name__}:{name}': {options}}}"), "s.yaml")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "Bare",
            "{width: {choice: [8, 16]}}",
            "a range needs a type, got .*; write `*, width: int = 16`",
        ),
        ("Bare", "{width: {log: [8, 16]}}", "a range needs a type"),
        ("Loose", "{width: {int: [8, 16]}}", "a range needs a type"),
        (
            "Ordinary",
            "{width: {choice: [8, 16]}}",
            "unknown option; 'width' is an argument.*`*, width: int = 16`",
        ),
        ("Ordinary", "{depth: 3}", "unknown option; .* put it after a `*`, as in `*, depth: int = 2`"),
        ("Ordinary", "{heads: 3}", "unknown option; it has none (options are keyword-only arguments, such as"),
        ("Bare", "{widht: 8}", "unknown option; did you mean 'width'? (options are keyword-only arguments"),
        ("Demanding", "{}", "Demanding(num_classes, in_channels, *, options) (missing a required argument: 'width')"),
        ("OneArgument", "{}", "(too many positional arguments)"),
        ("Undefined", "{}", "its annotations cannot be read: name 'Missing' is not defined"),
    ],
)
def test_what_no_constructor_would_take_is_refused_with_how_to_write_it(name: str, options: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        study(name, options)
    (problem,) = caught.value.problems
    for part in message.split(".*"):
        assert part in problem
    assert problem.startswith("s.yaml:6: student.model")


def test_what_has_a_type_is_searched_and_what_has_none_takes_a_plain_value() -> None:
    found = study("Typed", "{width: {choice: [8, 16]}}")
    assert [path for path in found.space(found.arms[0]) if "width" in path] == [f"student.model.{__name__}:Typed.width"]
    assert study("Typed", "{stages: {choice: [1, 2]}}").student.model.options["stages"] == {"choice": [1, 2]}
    assert study("Bare", "{width: 8}").student.model.options == {"width": 8}


def test_a_default_that_no_file_can_hold_is_the_plug_ins_own_affair() -> None:
    assert study("Defaults", "{width: 8}").student.model.options == {"width": 8}
    with pytest.raises(StudyError, match="declares a type that no study file can write"):
        study("Defaults", "{act: relu}")


def test_it_holds_for_other_kinds_of_plug_ins() -> None:
    transfer = spoilt("- none", f"- '{__name__}:Method': {{strength: {{uniform: [0, 1]}}}}")
    with pytest.raises(StudyError, match=r"a range needs a type.*`\*, strength: float = 1.0`"):
        parse_study(transfer, "s.yaml")
    with pytest.raises(StudyError, match=r"Rule\(layers, \*, options\) \(missing a required argument: 'factors'\)"):
        parse_study(spoilt("- constant", f"- '{__name__}:Rule'"), "s.yaml")


@pytest.mark.parametrize("registry", [DATASETS, MODELS, OPTIMIZERS, POLICIES, PRUNERS, SAMPLERS, SCHEDULES, TRANSFERS])
def test_every_registered_plug_in_takes_what_it_is_called_with(registry: Any) -> None:
    for name in registry:
        registry.options(name)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise OSError('no\\nluck')", "OSError: no luck"),
    ],
)
def test_a_module_that_raises_when_it_is_imported_is_one_line_and_debug_shows_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str, message: str
) -> None:
    (tmp_path / "raising_on_import.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "raising_on_import", raising=False)
    with pytest.raises(PluginError, match="mend its module"):
        MODELS.load("raising_on_import:Net")
    path = tmp_path / "study.yaml"
    path.write_text(spoilt("model: resnet20", "model: 'raising_on_import:Net'"))
    assert run(["check", str(path)]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error
    with pytest.raises(StudyError) as caught:
        run(["--debug", "check", str(path)])
    assert caught.value.__cause__ is not None
    assert type(caught.value.__cause__.__cause__).__name__ == message.partition(":")[0]
