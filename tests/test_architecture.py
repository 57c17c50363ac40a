"""The design's rules, held by tests: who may import what, how long a module may be, what it may be called.

``python -m tests.test_architecture`` writes the table of rooms in CONTRIBUTING.md anew.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kdstudy"
MAX_LINES = 300

# From the bottom up: a room may import the rooms below its row, through their faces, and nothing of its own row.
# What each room holds is said here once; CONTRIBUTING.md's table is made from it.
ROWS: tuple[dict[str, str], ...] = (
    {"results": "what a trial reports, and the documents printed as JSON, as types; numbers and tables as text"},
    {
        "errors": "what a user can put right, as one tree",
        "seeds": "every random stream derived from one seed, by name",
    },
    {"settings": "every environment variable that is read, and the one way to set any"},
    {
        "storage": "files of a store, on a disk or in a bucket; where records may point; retries; alone imports boto3",
        "plugins": "plug-ins by name, and whose code may run",
    },
    {
        "data": "data sets, splits, batches, augmentation",
        "study": "the study file, its checks, the configuration of a trial",
    },
    {"ledger": "the record of studies, trials and epochs, and of where they ran; the only importer of sqlalchemy"},
    {
        "models": "networks: built, recorded layer by layer, kept on disk, exported",
        "search": "what runs next: planner, samplers, pruners, budgets; the only importer of optuna",
        "tracking": "the view in MLflow, and its only importer",
    },
    {
        "transfer": "transfer methods and their maps, forward-mode derivatives",
        "layerwise": "crucial layers, divergences, learning-rate policies",
    },
    {"training": "the distillation loop, schedules, numerics, evaluation, checkpoints"},
    {"trial": "one configured run, or a pack, as a plain function; the teacher and the cache of its outputs"},
    {
        "analysis": "what the records say: comparison, statistics, importance, reruns",
        "cluster": "everything that imports Ray",
        "distill": "the method without the platform, for a training loop of one's own",
    },
    {"report": "what people read: the study's page, text, progress"},
    {"runner": "one study from start to finish; no Ray, no torch"},
    {
        "cli": "the commands: results to stdout, everything else to stderr",
        "api": "studies in Python: run, read, compare; data frames, notebooks",
    },
    {"testing": "conformance suites for plug-ins, for whoever writes one"},
    {"student": "the loader that older MLflow models name", "__main__": "`python -m kdstudy`"},
)
# The rooms that may import a library, at all.
OWNERS = {
    "ray": {"cluster"},
    "mlflow": {"tracking"},
    "optuna": {"search", "report", "api"},  # the last only to name a type
    "sqlalchemy": {"ledger"},
    "boto3": {"storage"},
    "botocore": {"storage"},
    "torchvision": {"data", "models"},
}
# torchvision is imported through the function that copes with CPU-only builds.
GUARD = {"kdstudy.data.import_torchvision", "kdstudy.data.torchvision_import.import_torchvision"}
MAX_ENTRIES = 28
# What a command that only reads or checks does not pay for.
HEAVY = ("torch", "ray", "mlflow", "optuna", "sklearn", "scipy")
LIGHT = (
    "kdstudy",
    "kdstudy.api",
    "kdstudy.cli",
    "kdstudy.cli.schemas",
    "kdstudy.study",
    "kdstudy.ledger",
    "kdstudy.tracking",
    "kdstudy.search.samplers",
    "kdstudy.search.pruners",
    "kdstudy.storage.store",
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
def test_nobody_imports_past_a_face(path: Path) -> None:
    if path.name == "student.py":  # what MLflow looks up by name
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kdstudy."):
            room, _, inside = (node.module or "").removeprefix("kdstudy.").partition(".")
            if room == part(path):  # the face is for others: it imports the room's own modules
                modules = all((PACKAGE / room / f"{alias.name}.py").exists() for alias in node.names)
                assert inside or modules or path.name == "__init__.py", f"import the module, not kdstudy.{room}"
            else:
                assert not inside, f"import from kdstudy.{room}, not past its face: {node.module}"


def test_every_face_says_what_it_offers() -> None:
    for folder in {path.parent for path in MODULES} - {PACKAGE}:
        tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
        names = [target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
        assert "__all__" in names, f"{folder.name}/__init__.py has no __all__"


def test_the_house_is_small_enough_to_be_seen_at_a_glance() -> None:
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MAX_ENTRIES, sorted(entries)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_library_has_one_owner(path: Path) -> None:
    for name in imports(path):
        library = name.partition(".")[0]
        owners = OWNERS.get(library)
        assert owners is None or part(path) in owners, f"{library} belongs to {owners}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_library_logs_and_only_commands_print(path: Path) -> None:
    if part(path) == "cli":
        return
    called = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert "print" not in {call.id for call in called if isinstance(call, ast.Name)}, "log it"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_environment_is_read_in_one_module_and_set_for_a_while_only(path: Path) -> None:
    if part(path) == "settings":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {name.rpartition(".")[2] for name in imports(path) if name.startswith("os.")}
    assert not used & {"environ", "environb", "getenv", "putenv", "unsetenv"}, "see kdstudy/settings.py"


def test_torchvision_is_imported_through_its_guard() -> None:
    for path in MODULES:
        names = set(imports(path))
        used = any(name.partition(".")[0] == "torchvision" for name in names)
        assert not used or path.stem == "torchvision_import" or GUARD & names, path


def test_optuna_is_imported_only_where_a_proposal_is_made() -> None:
    for path in (PACKAGE / "search" / "samplers").glob("*.py"):
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


CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"
MARKS = ("<!-- rooms: made by tests/test_architecture.py -->\n", "<!-- /rooms -->\n")


def rooms_table() -> str:
    """The rooms as Markdown, from the top down; those of one line may not import each other."""
    lines = ["| room | holds |", "|---|---|"]
    for names in reversed(ROWS):
        lines.append("| " + "<br>".join(f"`{name}`" for name in names) + " | " + "<br>".join(names.values()) + " |")
    return "\n".join(lines) + "\n"


def test_contributing_shows_the_rooms_that_are_enforced() -> None:
    text = CONTRIBUTING.read_text(encoding="utf-8")
    assert text.partition(MARKS[0])[2].partition(MARKS[1])[0] == rooms_table(), __doc__


def test_readme_maps_every_room() -> None:
    text = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    shown = text.partition("## The code")[2]
    entries = {path.name + "/" * path.is_dir() for path in PACKAGE.iterdir()} - {"__pycache__/", "py.typed"}
    assert {entry for entry in entries if entry not in shown} == set()


if __name__ == "__main__":
    before, _, rest = CONTRIBUTING.read_text(encoding="utf-8").partition(MARKS[0])
    CONTRIBUTING.write_text(
        before + MARKS[0] + rooms_table() + MARKS[1] + rest.partition(MARKS[1])[2], encoding="utf-8"
    )
