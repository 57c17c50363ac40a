"""YAML as study files use it: read safely, by YAML 1.2's rules, written so that everyone reads it alike."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kdstudy.errors import StudyError
from kdstudy.study.yaml_text import parse_text, write_text

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    st.sampled_from(["on", "1e5", "5e-4", "0x1", "0o7", "1_0", "1:30", "~", "", "<<"]),
)
trees = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xy", min_size=1), inner, max_size=3),
        max_leaves=10,
    ),
    min_size=1,
)

ALIAS = "anchors and aliases (&, *) are not allowed, got one; write the value out, or quote it"


@given(trees)
def test_reads_back_what_it_writes_and_so_does_yaml_1_1(tree: dict[str, object]) -> None:
    text = write_text(tree, "a comment\nof two lines")
    values, problems = parse_text(text, "x")
    assert values == tree and not problems
    assert yaml.safe_load(text) == tree


def test_scalars_by_hand() -> None:
    written = "[5e-4, .5, 1., -2, 0x1f, 0o17, 017, true, False, ~, on, no, 1_0, 1:30, 2024-01-01]"
    values, problems = parse_text(f"a: {written}\n", "x")
    assert not problems
    assert values["a"] == [0.0005, 0.5, 1.0, -2, 31, 15, 17, True, False, None, "on", "no", "1_0", "1:30", "2024-01-01"]
    assert [type(value) for value in values["a"][:4]] == [float, float, float, int]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x 1\n", f"x:1: {ALIAS}"),
        ("a: 1\nb: *x\n", f"x:2: {ALIAS}"),
        ("a: " + "[" * 5000, "x:1: nested deeper than 20 levels; flatten it"),
        ("a: 1\n---\nb: 2\n", "x:2: a study file holds one document, got another; remove the line ---"),
        ("a: 1\nb: \x07\n", "x:2: a character that YAML does not allow, got #x0007; remove it"),
    ],
)
def test_refuses_what_no_study_needs(text: str, told: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_text(text, "x")
    assert caught.value.problems == (told,)


@pytest.mark.parametrize("text", ["a: [1", "a:\n\t- b", "a: b: c", "a: @x", "'a", "a: {b: 1", "%", "a: 'b\n"])
def test_syntax_errors_are_one_line_with_the_place(text: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_text(text, "x")
    (problem,) = caught.value.problems
    assert problem.startswith("x:") and "not valid YAML" in problem and "\n" not in problem


def test_unreadable_values_are_told_and_reading_goes_on() -> None:
    text = "a: !!float x\n? [1]\n: 2\nb: !!python/object:os.system 1\nc: " + "9" * 5000
    _, problems = parse_text(text, "x")
    told = problems.told()
    assert [problem.split(": ")[0] for problem in told] == ["x:1", "x:2", "x:4", "x:5"]
    assert "a key is a word, got a list" in told[1]
