"""Each case runs in a process of its own: operators are declared once for the life of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

# As torchvision does: the operators get fake kernels on import, which needs their schemas. A native library
# that loads declares them; here the package plays its part.
PACKAGE = """
import torch
native = {native}
if native:
    for name in ("nms", "qnms"):
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{{name}}", schema)
for name in ("nms", "qnms"):
    torch.library.register_fake(f"torchvision::{{name}}", lambda dets, scores, iou_threshold: dets)
print("imported")
"""


# What the native library is called since torchvision 0.29, and before.
library = pytest.mark.parametrize("library", ["_C_stable.so", pytest.param("_C.so", marks=pytest.mark.slow)])


def run(code: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(path), str(Path.cwd())])
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    (tmp_path / "torchvision").mkdir()
    return tmp_path


def loadable_library() -> Path:
    """Any shared library that loads beside this torch."""
    return next((Path(torch.__file__).parent / "lib").glob("libc10.*"))


def test_the_installed_torchvision_can_be_used() -> None:
    code = (
        "from kdstudy.data.torchvision_import import import_torchvision as load; assert load() is load()\n"
        "import torchvision.datasets, torchvision.transforms.v2, torchvision.models\n"
        "print(torchvision.models.resnet18(num_classes=3).fc.out_features)"
    )
    done = run(code)
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr


@library
def test_the_operators_are_declared_where_the_native_library_does_not_load(fake: Path, library: str) -> None:
    (fake / "torchvision" / "__init__.py").write_text(PACKAGE.format(native=False))
    (fake / "torchvision" / library).write_bytes(b"not a library")
    done = run("from kdstudy.data.torchvision_import import import_torchvision; import_torchvision()", fake)
    assert (done.returncode, done.stdout.strip()) == (0, "imported"), done.stderr


def test_they_are_declared_where_there_is_no_native_library_at_all(fake: Path) -> None:
    (fake / "torchvision" / "__init__.py").write_text(PACKAGE.format(native=False))
    done = run("from kdstudy.data.torchvision_import import import_torchvision; import_torchvision()", fake)
    assert (done.returncode, done.stdout.strip()) == (0, "imported"), done.stderr


@library
def test_they_are_not_declared_where_the_native_library_loads(fake: Path, library: str) -> None:
    (fake / "torchvision" / "__init__.py").write_text(PACKAGE.format(native=True))
    (fake / "torchvision" / library).symlink_to(loadable_library())
    done = run("from kdstudy.data.torchvision_import import import_torchvision; import_torchvision()", fake)
    assert (done.returncode, done.stdout.strip()) == (0, "imported"), done.stderr


@pytest.mark.slow
def test_the_cases_above_would_fail_the_other_way_round(fake: Path) -> None:
    package = fake / "torchvision" / "__init__.py"
    package.write_text(PACKAGE.format(native=False))
    assert run("import torchvision", fake).returncode != 0, "an undeclared operator takes no fake kernel"
    package.write_text(PACKAGE.format(native=True))
    declare = "import torch; torch.library.define('torchvision::nms', '(Tensor a) -> Tensor'); import torchvision"
    assert run(declare, fake).returncode != 0, "an operator is declared once"


def test_a_user_who_imported_torchvision_first_is_not_disturbed(fake: Path) -> None:
    (fake / "torchvision" / "__init__.py").write_text(PACKAGE.format(native=True))
    code = "import torchvision; from kdstudy.data.torchvision_import import import_torchvision; import_torchvision()"
    assert run(code, fake).returncode == 0


def test_a_missing_torchvision_is_one_line(tmp_path: Path) -> None:
    code = (
        "import importlib.util, kdstudy.data.torchvision_import as vision\n"
        "vision.find_spec = lambda name: None\n"
        "try: vision.import_torchvision()\n"
        "except vision.DataError as error: print(error)"
    )
    done = run(code)
    assert done.stdout.strip() == "torchvision: is not installed; run 'pip install torchvision' for this torch"
