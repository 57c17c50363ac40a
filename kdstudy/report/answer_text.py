"""What a study answers, in words and cells: one spelling for terminal, page, Markdown and MLflow.

ASCII only, so that any terminal shows it. Scores are in percent.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from kdstudy.analysis import Answer, ArmAnswer, RanWith, middle
from kdstudy.report.model import short_names
from kdstudy.results import UNKNOWN, count_of, points, table
from kdstudy.study import Choice

WIDTH = 100
"""Of a terminal, in characters."""


@dataclass(frozen=True)
class Cells:
    """A table, laid out by whoever shows it.

    Args:
        header: One cell per column.
        rows: As wide.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def render_answer(answer: Answer, decimals: int = 1, *, named: bool = False) -> str:
    """Return an answer's tables and what to take home, for a terminal; empty before a trial has completed.

    Args:
        answer: Of one study.
        decimals: Of scores in percent.
        named: Whether to begin with the study's ID.
    """
    blocks = [f"{answer.study_id}:"] if named else []
    if any(each.scores for each in answer.arms):
        arms = arm_cells(answer, decimals)
        blocks.append(table(arms.header, arms.rows))
        values = [table(each.header, each.rows) for one in value_cells(answer) for each in _narrow(one)]
        if values:
            blocks.append("\n".join([f"{wrapped(ran_with_title(answer))}", *values, *map(wrapped, footnote(answer))]))
    if answer.take_home is not None:
        blocks.append(f"{wrapped(take_home_text(answer, decimals))}\n  {answer.take_home.command}")
    return "\n\n".join(blocks)


def render_warnings(messages: Sequence[str]) -> str:
    """Return warnings for a terminal, one paragraph each; empty without any."""
    return "\n".join(wrapped(f"Warning: {message}.") for message in messages)


wrapped: Callable[[str], str] = partial(textwrap.fill, width=WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def arm_cells(answer: Answer, decimals: int = 1) -> Cells:
    """Return the scores of the arms, and below them what to measure them by: the teacher and chance."""
    diverged = any(each.diverged for each in answer.arms)
    header = ("arm", "val %", "test %", "95% interval", "searches", "won", *["diverged"] * diverged)
    rows = [
        (
            f"{each.arm.name} (plain training)" if each.arm == answer.plain else each.arm.name,
            _percent(each.val, decimals),
            _percent(each.test, decimals),
            _interval(each, decimals),
            f"{len(each.scores)} x {each.seeds}",
            "" if each.won is None else f"{each.won}/{each.compared}",
            *[str(each.diverged)] * diverged,
        )
        for each in answer.arms
    ]
    for name, val, test in (("teacher", answer.teacher_val, answer.teacher_test), ("chance", None, answer.chance)):
        if test is not None or val is not None:
            rows.append((name, "" if val is None else points(val, decimals), _percent(test, decimals), "", "", ""))
    return Cells(header, tuple(row + ("",) * (len(header) - len(row)) for row in rows))


def value_cells(answer: Answer) -> list[Cells]:
    """Return what the arms of each transfer ran with, side by side; transfers without a searched value are left out."""
    found = []
    for transfer, same in groupby(answer.arms, key=lambda each: each.arm.transfer):
        arms = [each for each in same if each.scores]
        paths = list(dict.fromkeys(value.path for each in arms for value in each.ran_with))
        rows = []
        for path, name in zip(paths, short_names(paths), strict=True):
            values = [next((value for value in each.ran_with if value.path == path), None) for each in arms]
            rows.append((name, *("" if value is None else _picked(value) for value in values)))
        if rows:
            found.append(Cells((transfer, *(each.arm.policy for each in arms)), tuple(rows)))
    return found


def ran_with_title(answer: Answer) -> str:
    """Return the title of those tables."""
    searches = max(len(each.scores) for each in answer.arms)
    if searches <= 2:  # both are shown
        return f"What each arm ran with, as its {'search' if searches == 1 else 'two searches'} picked it:"
    return "What each arm ran with, as its searches picked it, median (lowest to highest):"


def footnote(answer: Answer) -> list[str]:
    """Return what the mark in those tables means; nothing where it is not used."""
    if not any(value.differs for each in answer.arms for value in each.ran_with):
        return []
    return [
        "* not the baseline's value in every search: each arm was tuned for itself. How much of a difference is the "
        "policy alone is asked with search.together."
    ]


def take_home_text(answer: Answer, decimals: int = 1) -> str:
    """Return which student to take home, and what it and its arm score; empty before a trial has completed."""
    student = answer.take_home
    if student is None:
        return ""
    val = f"{points(student.val, decimals)}% on validation"
    if student.test is None:
        return (
            f"Take home: the student of trial {student.trial}, {student.arm.name}, the best of the search with {val}; "
            "no run has been confirmed, so no student has a test score:"
        )
    arm = answer.of(student.arm)
    interval = _interval(arm, decimals)
    score = f"{_percent(arm.test, decimals)}%{f' {interval}' if interval else ''}"
    over = count_of(student.over, "search", "searches")
    return (
        f"Take home: a student of {student.arm.name}, the best arm on validation over {over}; on test the arm scores "
        f"{score}, the student of trial {student.trial} {points(student.test, decimals)}% ({val}):"
    )


def _picked(value: RanWith) -> str:
    """Return one cell: what stands for the picks, their extremes where they differ, and the mark."""
    text, several = middle(value.values), len(set(map(str, value.values))) > 1 and not isinstance(value.span, Choice)
    if several and len(value.values) == 2:
        text = f"{min(value.values):.3g} and {max(value.values):.3g}"
    elif several:
        text += f" ({min(value.values):.3g} to {max(value.values):.3g})"
    return f"{text} *" if value.differs else text


def _narrow(cells: Cells) -> Iterator[Cells]:
    """Yield a table in parts that fit a terminal, each with the first column."""
    widths = [max(map(len, column)) for column in zip(cells.header, *cells.rows, strict=True)]
    place = 1
    while place < len(widths):
        end = place + 1
        while end < len(widths) and widths[0] + sum(width + 2 for width in widths[place : end + 1]) <= WIDTH:
            end += 1
        parts = [(row[0], *row[place:end]) for row in (cells.header, *cells.rows)]
        yield Cells(parts[0], tuple(row for row in parts[1:] if any(row[1:])))
        place = end


def _interval(arm: ArmAnswer, decimals: int) -> str:
    if arm.interval is None:
        return ""
    low, high = arm.interval
    return f"[{points(low, decimals)}, {points(high, decimals)}]"


def _percent(fraction: float | None, decimals: int) -> str:
    return UNKNOWN if fraction is None else points(fraction, decimals)
