"""The documentation site is built without a warning, its notebooks run, and what it generates is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kdstudy import plugins

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_site_is_built_without_a_warning_and_its_notebooks_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", ".", str(tmp_path)]
    built = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "docs" / "notebooks" / "quickstart.html").read_text(encoding="utf-8")
    assert "identical" in page, "outputs are shown"
    assert "docs/index.html" in (tmp_path / "index.html").read_text(encoding="utf-8")
    for command_name, registry in (("transfers", plugins.TRANSFERS), ("policies", plugins.POLICIES)):
        for name in registry:
            assert (tmp_path / "docs" / "plugins" / command_name / f"{name}.html").exists()
    assert "--warm-start" in (tmp_path / "docs" / "commands.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


def test_there_are_three_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["own-model-and-data", "quickstart", "reading-a-study"]
