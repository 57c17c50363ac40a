"""The suites run over plug-ins of a package outside kdstudy, and find what is wrong with a bad one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = """
from kdstudy.search import Pruner, Sampler
from kdstudy.search import startup_values


class Middle(Sampler):
    \"\"\"Proposes what the seed and the index give.\"\"\"

    learns = False

    def propose(self, space, history, *, index, seed):
        return startup_values(space, seed=seed, transfer="", index=index)


class Moody(Middle):
    \"\"\"Remembers how often it was asked.\"\"\"

    asked = 0

    def propose(self, space, history, *, index, seed):
        Moody.asked += 1
        return super().propose(space, history, index=index + Moody.asked, seed=seed)


class Never(Pruner):
    \"\"\"Stops nothing.\"\"\"

    def stops(self, own, others):
        return False

"""
SUITES = """
from kdstudy.testing import PrunerSuite, SamplerSuite


class TestMiddle(SamplerSuite):
    plugin = "outside.plugins:Middle"


class TestMoody(SamplerSuite):
    plugin = "outside.plugins:Moody"


class TestNever(PrunerSuite):
    plugin = "outside.plugins:Never"
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "__init__.py").write_text("")
    (tmp_path / "outside" / "plugins.py").write_text(PLUGINS)
    (tmp_path / "test_outside.py").write_text(SUITES)
    return tmp_path


def pytest_in(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    path = os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
    settings = {**os.environ, "PYTHONPATH": path, "KDSTUDY_ALLOW_PLUGINS": "", **environment}
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)


def test_good_plugins_pass_and_a_bad_one_is_found_out(package: Path) -> None:
    done = pytest_in(package, KDSTUDY_ALLOW_PLUGINS="outside")
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert "test_outside.py::TestMoody::test_a_proposal_is_a_function_of_its_arguments_alone" in failed, done.stdout
    assert all("::TestMoody::" in name for name in failed), done.stdout
    assert "assert {" in done.stdout, "assertions show their values"


@pytest.mark.slow
def test_a_package_that_was_not_allowed_is_not_imported(package: Path) -> None:
    done = pytest_in(package)
    assert "is code outside kdstudy, which is not run unasked" in done.stdout
    assert "passed" not in done.stdout.splitlines()[-1]
