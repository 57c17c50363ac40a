"""Ranges: quantiles, ends, membership, and what cannot be one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdstudy.study.range_notation import is_range, read_range
from kdstudy.study.space import Choice, Int, Log, Range, RangeError, Uniform

numbers = st.floats(-1e300, 1e300)
shares = st.floats(0, 1, exclude_max=True)


def spans() -> st.SearchStrategy[Range]:
    pairs = st.tuples(numbers, numbers).filter(lambda pair: pair[0] < pair[1])
    magnitudes = st.floats(1e-300, 1e300)
    positive = st.tuples(magnitudes, magnitudes).filter(lambda pair: pair[0] < pair[1])
    whole = st.tuples(st.integers(-(10**6), 10**6), st.integers(1, 10**6)).map(lambda p: (p[0], p[0] + p[1]))
    scalars = st.one_of(
        st.integers(), st.booleans(), st.text(max_size=3), st.none(), st.lists(st.integers(), max_size=2)
    )
    options = st.lists(scalars, min_size=2, max_size=5, unique_by=repr)
    return st.one_of(
        pairs.map(lambda p: Uniform(*p)),
        positive.map(lambda p: Log(*p)),
        whole.map(lambda p: Int(*p)),
        options.map(lambda o: Choice(tuple(o))),
    )


@given(spans(), shares)
def test_every_quantile_is_inside(span: Range, u: float) -> None:
    assert span.contains(span.at(u))


@given(spans())
def test_both_ends_belong_to_the_range(span: Range) -> None:
    assert all(span.contains(end) for end in span.ends())
    assert span.contains(span.at(0)) and span.contains(span.at(1))


@given(spans())
def test_reads_back_what_it_writes(span: Range) -> None:
    assert is_range(span.to_yaml())
    assert read_range(span.to_yaml()) == span


def test_quantiles_by_hand() -> None:
    assert Uniform(-1, 3).at(0.25) == 0
    assert Log(0.01, 100).at(0.5) == pytest.approx(1)
    assert [Int(1, 3).at(u) for u in (0, 0.33, 0.34, 0.67, 0.999)] == [1, 1, 2, 3, 3]
    assert [Choice(("a", "b")).at(u) for u in (0, 0.49, 0.5, 0.999)] == ["a", "a", "b", "b"]
    assert (Uniform(0, 4).at(1), Log(1, 8).at(1), Int(1, 3).at(1)) == (4, 8, 3)


@pytest.mark.parametrize("u", [0.0, 0.1, 0.5, 0.9])
def test_position_undoes_at(u: float) -> None:
    for span in (Uniform(-3, 9), Uniform(-1.7e308, 1.7e308), Log(1e-5, 10)):
        assert span.position(span.at(u)) == pytest.approx(u, abs=1e-12)
    assert [Int(1, 4).position(value) for value in (1, 2, 3, 4)] == [0.125, 0.375, 0.625, 0.875]


def test_membership_is_strict() -> None:
    assert Uniform(0, 1).contains(1)
    assert not Uniform(0, 1).contains(True) and not Uniform(0, 1).contains("0.5")
    assert not Uniform(0, 1).contains(math.nan) and not Uniform(0, 1).contains(10**400)
    assert not Int(1, 3).contains(2.0) and not Int(0, 3).contains(True)
    assert not Choice((1, "1")).contains(1.0) and Choice((1, True, "1", 1.0)).index(True) == 1


def test_labels_of_choices() -> None:
    assert Choice(("a", 1, None, {"b": [1, 2]})).labels == ("a", "1", "null", '{"b":[1,2]}')


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"uniform": [2, 1]}, "the low end must come first, got [2, 1]; write [1, 2]"),
        ({"uniform": [1, 1]}, "the ends of a range must differ, got 1 twice; write the value itself"),
        ({"uniform": [0, math.inf]}, "the ends of a range must be finite numbers, got Infinity; write numbers"),
        ({"uniform": [True, 2]}, "the ends of a range must be finite numbers, got true; write numbers"),
        ({"uniform": [0, 10**400]}, "must be finite numbers"),
        ({"uniform": 3}, "uniform takes a list of two ends, got 3; write {uniform: [low, high]}"),
        ({"log": [0, 1]}, "the low end of a log range must be greater than 0, got 0; raise it, or use uniform"),
        ({"int": [1.0, 2]}, "the ends of an int range must be whole numbers, got 1.0"),
        ({"choice": ["a"]}, "a choice needs at least 2 options, got 1; add another, or write the value itself"),
        ({"choice": ["a", "b", "a"]}, 'a choice must not repeat an option, got "a" 2 times; keep one of them'),
        ({"choice": "ab"}, 'a choice takes a list, got "ab"; write {choice: [first, second]}'),
    ],
)
def test_says_what_is_wrong(written: dict[str, object], message: str) -> None:
    with pytest.raises(RangeError) as caught:
        read_range(written)
    assert any(message in problem for problem in caught.value.problems)


def test_tells_everything_wrong_with_a_range_at_once() -> None:
    with pytest.raises(RangeError) as caught:
        Log(-1, -2)
    assert len(caught.value.problems) == 2
