"""The dashboards against Grafana's published schema, by TypeScript's compiler."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.tools import need

FILES = sorted((Path(__file__).parents[2] / "dashboards" / "grafana" / "dashboards").glob("*.json"))
PACKAGES = ("@grafana/schema@13.2.3", "typescript@5.9.3")
OPTIONS = ("--strict", "--noEmit", "--pretty", "false", "--module", "esnext", "--moduleResolution", "bundler")


def check(folder: Path, boards: dict[str, dict[str, Any]]) -> str:
    """Return what the compiler finds wrong with the dashboards; "" is nothing."""
    for name, board in boards.items():
        text = f'import type {{ Board }} from "./board";\nexport const board: Board = {json.dumps(board, indent=2)};\n'
        (folder / f"{name}.ts").write_text(text)
    command = [folder / "node_modules" / ".bin" / "tsc", *OPTIONS, *(f"{name}.ts" for name in boards)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode == 0) == (done.stdout == ""), done.stderr
    return done.stdout


def spoilt(board: dict[str, Any], *keys: str | int, value: Any) -> dict[str, Any]:
    """Return the dashboard with another value at a place."""
    copy: dict[str, Any] = json.loads(json.dumps(board))
    part: Any = copy
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    return copy


@pytest.mark.slow
def test_the_dashboards_have_grafanas_types_and_faults_would_be_found(tmp_path: Path) -> None:
    npm = Path(need("node")) / "npm"
    (tmp_path / "package.json").write_text("{}")
    install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    subprocess.run(install, cwd=tmp_path, check=True, timeout=240)
    shutil.copy(Path(__file__).with_name("board.ts"), tmp_path)
    boards = {path.stem: json.loads(path.read_text()) for path in FILES}
    assert check(tmp_path, boards) == ""

    board = boards["study"]
    kinds = [panel["type"] for panel in board["panels"]]
    stat, lines = kinds.index("stat"), kinds.index("timeseries")
    faults = {
        "cursor": spoilt(board, "graphTooltip", value=7),
        "refresh": spoilt(board, "refresh", value=15),
        "variable": spoilt(board, "templating", "list", 0, "type", value="querry"),
        "misspelt": spoilt(board, "timezon", value="browser"),
        "panel": spoilt(board, "panels", stat, "type", value="graph"),
        "option": spoilt(board, "panels", stat, "options", "colorMode", value="rainbow"),
        "legend": spoilt(board, "panels", lines, "options", "legend", "displayMode", value="grid"),
        "line": spoilt(board, "panels", lines, "fieldConfig", "defaults", "custom", "drawStyle", value="dots"),
        "width": spoilt(board, "panels", lines, "gridPos", value={"h": 4, "w": "5", "x": 0, "y": 0}),
        "query": spoilt(board, "panels", lines, "targets", 0, "expression", value="up"),
    }
    found = check(tmp_path, faults)
    for name in faults:
        assert f"{name}.ts(" in found, f"{name} passed: {found}"
