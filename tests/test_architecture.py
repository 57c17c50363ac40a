"""The design's rules, held by tests: who may import what, how long a module may be, what it may be called."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kdstudy"
MAX_LINES = 350

# From the bottom up: a part may import the rows below its own, and nothing of its own row.
ROWS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("trust",),
    ("registry", "results", "seeds", "space", "stats", "network", "vision", "storage"),
    ("schemas", "study", "transfer", "layerwise", "models", "data"),
    ("training", "student"),
    ("assembly",),
    ("targets",),
    ("sources",),
    ("trial",),
    ("pack", "preflight", "teacher"),
    ("ledger", "environment", "store"),
    ("tracking", "samplers", "pruners"),
    ("budget", "corners", "compare", "overview", "cluster", "usage"),
    ("reproduce", "export", "layers_report", "doctor", "report", "live", "optuna_view"),
    ("search",),
    ("cli",),
    ("__main__",),
)
# The parts that may import a library, at all.
OWNERS = {
    "ray": {"search", "cluster"},
    "mlflow": {"tracking"},
    "optuna": {"samplers", "optuna_view"},  # the second only to name a type
    "sqlalchemy": {"ledger"},
    "boto3": {"storage"},
    "botocore": {"storage"},
    "torchvision": {"vision", "data", "models"},
}
# What a command that only reads or checks does not pay for.
HEAVY = ("torch", "ray", "mlflow", "optuna", "sklearn", "scipy")
LIGHT = (
    "kdstudy",
    "kdstudy.cli",
    "kdstudy.study",
    "kdstudy.ledger",
    "kdstudy.tracking",
    "kdstudy.environment",
    "kdstudy.samplers",
    "kdstudy.pruners",
    "kdstudy.store",
)

MODULES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    """The first name below kdstudy: a package or a module."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports anywhere, functions and type checking included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write relative imports out"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def row(name: str) -> int:
    found = [index for index, names in enumerate(ROWS) if name in names]
    assert found, f"'{name}' has no row in tests/test_architecture.py; give it one"
    return found[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    own = part(path)
    if own == "__init__":  # kdstudy itself: what it offers, lazily
        return
    for name in imports(path):
        library, _, rest = name.partition(".")
        if library != "kdstudy" or rest.startswith("__version__"):
            continue
        other = rest.partition(".")[0]
        assert other == own or row(other) < row(own), f"{own} may not import kdstudy.{other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_library_has_one_owner(path: Path) -> None:
    for name in imports(path):
        library = name.partition(".")[0]
        owners = OWNERS.get(library)
        assert owners is None or part(path) in owners, f"{library} belongs to {owners}"


def test_torchvision_is_imported_through_its_guard() -> None:
    for path in MODULES:
        names = set(imports(path))
        used = any(name.partition(".")[0] == "torchvision" for name in names)
        assert not used or part(path) == "vision" or "kdstudy.vision.import_torchvision" in names, path


def test_optuna_is_imported_only_where_a_proposal_is_made() -> None:
    for path in (PACKAGE / "samplers").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith("optuna") for name in names), path


def test_light_parts_do_not_import_heavy_libraries() -> None:
    code = f"import sys, {', '.join(LIGHT)}; print(*sorted(set(sys.modules) & {set(HEAVY)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_are_short_and_named_after_what_they_hold(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines: split it by what it does"
    assert path.stem.strip("_") not in {
        "utils",
        "util",
        "helpers",
        "helper",
        "common",
        "misc",
        "managers",
        "manager",
    }


def test_every_row_names_something_that_exists() -> None:
    parts = {part(path) for path in MODULES}
    listed = {name for names in ROWS for name in names}
    assert listed == parts - {"__init__"}
