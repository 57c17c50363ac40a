"""Numbers, durations and tables as people read them, written out by hand."""

from __future__ import annotations

import pytest

from kdstudy.results.formatting import brief, byte_count, clock, decimal, duration, markdown_table, percent, table


@pytest.mark.parametrize(
    ("seconds", "short", "full"),
    [
        (0.0, "0 s", "0.0 s"),
        (59.4, "59 s", "59.4 s"),
        (60.0, "1:00", "1:00 min"),
        (187.2, "3:07", "3:07 min"),
        (7387.0, "2:03:07", "2:03:07 h"),
    ],
)
def test_durations(seconds: float, short: str, full: str) -> None:
    assert (clock(seconds), duration(seconds)) == (short, full)


def test_numbers() -> None:
    assert [byte_count(size) for size in (12, 7_890, 45_600_000, 1_234_000_000)] == [
        "12 bytes",
        "7.89 kB",
        "45.6 MB",
        "1.23 GB",
    ]
    assert [brief(value) for value in (0.123456, 7, "adam")] == ["0.1235", "7", "adam"]
    plain = [True, None, [1, 0.25], {"resnet8": {}}, {"resnet14": {"shortcut": "A", "width": 0.5}}, {"int": 4}, {}]
    words = ["true", "null", "[1, 0.25]", "resnet8", "resnet14 (shortcut A, width 0.5)", "int 4", "{}"]
    assert [brief(value) for value in plain] == words
    assert [decimal(0.5), decimal(None), percent(0.98765), percent(None)] == ["0.5000", "-", "98.77", "\N{EN DASH}"]


def test_numbers_stand_to_the_right_and_unknown_ones_with_them() -> None:
    assert table(["arm", "val", "gain"], [["kd/constant", "0.9", "+1.2%"], ["none", "-", "-"]]).splitlines() == [
        "arm          val   gain",
        "-----------  ---  -----",
        "kd/constant  0.9  +1.2%",
        "none           -      -",
    ]
    assert table(["a", "b"], []) == "a  b\n-  -"


def test_a_markdown_table() -> None:
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
