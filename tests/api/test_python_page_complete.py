"""The page on Python names all that a caller may use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kdstudy

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
CODE = re.findall(r"`[^`]+`|^```python\n.*?^```", PAGE, flags=re.DOTALL | re.MULTILINE)
NAMED = set(re.findall(r"\w+", " ".join(CODE)))


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize("kind", [kdstudy.Study, kdstudy.Trial, kdstudy.Comparison, kdstudy.Callback])
def test_every_member_is_named(kind: type) -> None:
    assert public(kind) - NAMED == set()


def test_every_name_of_the_package_is_named() -> None:
    assert {name for name in kdstudy.__all__ if not name.startswith("__")} - NAMED == set()
