"""Study files of every kind of wrong: one line a problem, no traceback, nothing touched, nothing run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from kdstudy.cli import run
from tests.fuzz.hostile import STRANGER, study_text
from tests.fuzz.watch import watched

FAST, ALL = 150, 500


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a store, with a stranger's package within reach."""
    package = tmp_path / "path" / STRANGER
    package.mkdir(parents=True)
    for name in ("__init__.py", "method.py"):
        (package / name).write_text("import pathlib\npathlib.Path('ran').touch()\n")
    monkeypatch.syspath_prepend(tmp_path / "path")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def judge(seed: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Check the file, and run it at an address where no cluster is; return how it ended."""
    file = folder / "study.yaml"
    file.write_bytes(study_text(seed))
    codes = []
    for arguments in (["check", str(file)], ["run", str(file), "--address", "127.0.0.1:1"]):
        with watched(stranger=STRANGER) as faults:
            code = run(arguments)
        told = capsys.readouterr()
        assert faults == [] or (code == 1 and all(fault.startswith("socket.connect") for fault in faults)), (
            seed,
            faults,
        )
        assert code in (0, 1), seed
        assert "Traceback" not in told.err, seed
        lines = told.err.splitlines()
        assert all(line.startswith("error: ") for line in lines), (seed, lines)
        assert all(line.isprintable() for line in lines), (seed, lines)
        assert bool(lines) == (code == 1), (seed, told)
        codes.append(code)
    assert sorted(path.name for path in folder.iterdir()) == ["study.yaml"], seed
    assert codes[1] == 1, "no cluster is there"
    if codes[0] == 0:
        assert "nothing listens" in lines[0], (seed, lines)
    return "right" if codes[0] == 0 else "wrong"


@pytest.mark.parametrize("files", [FAST, pytest.param(ALL, marks=pytest.mark.slow)])
def test_study_files(files: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = Counter(judge(seed, folder, capsys) for seed in range(files))
    assert min(ends["right"], ends["wrong"]) > files / 10, "the generator must make both"
