"""Numbers, truth and text as other notations write them: read, or told how to write them here."""

from __future__ import annotations

from typing import Any

import pytest

from kdstudy.errors import StudyError
from kdstudy.study import parse_study
from tests.study.files import STUDY

WHOLE = ("epochs: {int: [4, 6]}", "epochs: ")
RATE = ("base_lr: {log: [0.01, 0.3]}", "base_lr: ")
TRUTH = ("name: digits", "name: digits, download: ")
TEXT = ("name: example", "name: ")
LIST = ("milestones: [2, 3]", "milestones: ")
RANGE = ("epochs: {int: [4, 6]}", "epochs: ")


def with_value(place: tuple[str, str], value: str) -> str:
    assert STUDY.count(place[0]) == 1
    return STUDY.replace(place[0], place[1] + value)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (WHOLE, "1e2", "must be a whole number, got 100.0; write 100"),
        (WHOLE, "8.0", "must be a whole number, got 8.0; write 8"),
        (WHOLE, "1_000", 'must be a whole number, got "1_000"; write 1000'),
        (WHOLE, "1,000", 'must be a whole number, got "1,000"; write 1000'),
        (WHOLE, "'4'", 'must be a whole number, got "4"; write 4'),
        (WHOLE, "5.5", "must be a whole number, got 5.5; write for example 8"),
        (WHOLE, "~", "must be a whole number, got nothing; write for example 8"),
        (WHOLE, "", "must be a whole number, got nothing; write for example 8"),
        (WHOLE, "2026-01-02", 'must be a whole number, got "2026-01-02"; write for example 8'),
        (WHOLE, "1:30", 'must be a whole number, got "1:30"; write for example 8'),
        (WHOLE, "{int: [1e1, 20]}", "the ends of an int range must be whole numbers, got 10.0; write whole numbers"),
        (LIST, "[1e0, '3']", 'must be a whole number, got [1.0, "3"]; write [1, 3]'),
        (RATE, "'1e-3'", 'must be a number, got "1e-3"; write 0.001'),
        (RATE, "1_0.5", 'must be a number, got "1_0.5"; write 10.5'),
        (RATE, "0,1", 'must be a number, got "0,1"; write 0.1'),
        (RANGE, "{choice: [1e1, 20]}", "in the range: must be a whole number, got 10.0; write 10"),
        (RATE, "1/10", 'must be a number, got "1/10"; write for example'),
        (TRUTH, "yes", 'must be true or false, got "yes"; write true'),
        (TRUTH, "Off", 'must be true or false, got "Off"; write false'),
        (TRUTH, "n", 'must be true or false, got "n"; write false'),
        (TRUTH, "'true'", 'must be true or false, got "true"; write true'),
        (TRUTH, "1", "must be true or false, got 1; write true"),
        (TRUTH, "2", "must be true or false, got 2; leave it out for false"),
        (TEXT, "012", "must be text, got 12; write it in quotes"),
        (TEXT, "1e2", "must be text, got 100.0; write it in quotes"),
        (TEXT, "true", "must be text, got true; write it in quotes"),
    ],
)
def test_what_was_got_is_told_and_how_to_write_it(place: tuple[str, str], value: str, told: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_study(with_value(place, value), "x.yaml")
    (problem,) = caught.value.problems
    assert told in problem


@pytest.mark.parametrize(
    ("place", "value", "section", "key", "meant"),
    [
        (WHOLE, "012", "train", "epochs", 12),
        (WHOLE, "0x10", "train", "epochs", 16),
        (RATE, "1e-3", "train", "base_lr", 0.001),
        (RATE, "1E-3", "train", "base_lr", 0.001),
        (RATE, "1", "train", "base_lr", 1.0),
        (TRUTH, "True", "data", "download", True),
    ],
)
def test_what_yaml_reads_is_taken(place: tuple[str, str], value: str, section: str, key: str, meant: Any) -> None:
    study = parse_study(with_value(place, value), "x.yaml")
    assert getattr(getattr(study, section), key) == meant


@pytest.mark.parametrize("name", ["yes", "2026-01-02", "1_000", "on"])
def test_words_that_yaml_1_1_reads_otherwise_are_text(name: str) -> None:
    assert parse_study(with_value(TEXT, name), "x.yaml").name == name
