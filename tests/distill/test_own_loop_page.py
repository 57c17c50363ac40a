"""The page on loops of one's own is true: its block runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "own-loop.md"


def test_the_block_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(compile(block, str(PAGE), "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == names["EPOCHS"]
    assert lines[1] != lines[0].replace("0", "1", 1), "the policy moved the rates"
    assert list(names["terms"]) == ["cross_entropy", "attention/0", "attention/1"]  # type: ignore[call-overload]
    assert isinstance(names["student"], torch.nn.Module)
    assert not any(module._forward_hooks for module in names["student"].modules())
