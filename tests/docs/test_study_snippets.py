"""Every study, and every part of one, that a document shows is one that kdstudy takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdstudy.errors import StudyError
from kdstudy.study import parse_study

ROOT = Path(__file__).parents[2]
QUICKSTART = yaml.safe_load((ROOT / "studies" / "quickstart.yaml").read_text(encoding="utf-8"))
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "studies/README.md")),
    *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "your-own.md"),  # whose own test runs it
]
REQUIRED = {"name", "data", "teacher", "student", "train", "arms", "search"}
KEYS = {*REQUIRED, "seed", "confirm", "resources", "numerics", "cache"}
OWN_CODE = re.compile(r"\b(?:mine|lite|my_\w+):\w")


def snippets() -> list[Any]:
    """Return every block of YAML that begins with a key of study files, or of ``arms``, but for those with own code."""
    found = []
    for path in DOCUMENTS:
        blocks = re.findall(r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for number, block in enumerate(blocks):
            if re.match(rf"(?:#.*\n)*(?:{'|'.join(KEYS | {'policies'})}):", block) and not OWN_CODE.search(block):
                found.append(pytest.param(block, id=f"{path.relative_to(ROOT)}-{number}"))
    return found


def study_with(part: dict[str, Any]) -> str:
    """Return the text of the study that a snippet is, or of the quickstart with the snippet in it."""
    if set(part) == {"policies"}:
        part = {"arms": QUICKSTART["arms"] | part}
    return yaml.safe_dump(part if set(part) >= REQUIRED else QUICKSTART | part)


@pytest.mark.parametrize("block", snippets())
def test_a_snippet_is_a_study_or_part_of_one(block: str) -> None:
    parse_study(study_with(yaml.safe_load(block)))


def test_a_wrong_part_is_found() -> None:
    with pytest.raises(StudyError, match="temprature"):
        parse_study(study_with({"arms": {"transfers": [{"kd": {"temprature": 4}}], "policies": ["constant"]}}))


def test_the_recipes_are_among_them() -> None:
    assert sum("recipes" in str(snippet.id) for snippet in snippets()) >= 8
