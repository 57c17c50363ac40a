"""Headlines of what is no finding: students at chance, and runs that are all the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kdstudy.analysis import RanWith, compare
from kdstudy.ledger import Ledger
from kdstudy.report import render, render_comparison, report_of
from kdstudy.report.answer_text import _picked
from kdstudy.report.verdicts import headline, statements
from kdstudy.study import Log
from tests.confirmed import Arms, record

CHANCE = "but the students are at chance, so this says nothing of the policy"
SAME = "but every run scored exactly the same under both, so this says nothing of the policy"
GUESSED, GUESSED_TOO = [(0.1, 0.11), (0.1, 0.1), (0.09, 0.1)], [(0.1, 0.1), (0.101, 0.1), (0.09, 0.101)]
LEARNT = [(0.9, 0.91), (0.9, 0.9), (0.89, 0.9)]


@pytest.mark.parametrize(
    ("values", "cell"),
    [((0.1,), "0.1"), ((4.48, 1.6), "1.6 and 4.48"), ((2.0, 2.0), "2"), ((3.0, 1.0, 2.0), "2 (1 to 3)")],
)
def test_the_picks_of_two_searches_are_both_shown(values: tuple[float, ...], cell: str) -> None:
    value = RanWith("train.base_lr", Log(0.01, 10.0), values)
    assert _picked(value) == cell
    assert _picked(replace(value, differs=True)) == f"{cell} *"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


@pytest.mark.parametrize(
    ("constant", "layerwise", "verdict", "said"),
    [
        (GUESSED, GUESSED_TOO, "no_difference", f"no difference larger than 2 points, {CHANCE}"),
        (LEARNT, LEARNT, "no_difference", f"no difference larger than 2 points, {SAME}"),
        (GUESSED, GUESSED, "no_difference", f"no difference larger than 2 points, {CHANCE}"),
        ([("diverged", "diverged")] * 3, [("diverged", "diverged")] * 3, "no_difference", CHANCE),
        (GUESSED, [(0.8, 0.91), *LEARNT[1:]], "better", None),
        ([(0.8, 0.91), *LEARNT[1:]], GUESSED, "worse", None),
        (LEARNT, [(0.9, 0.91), (0.9, 0.9), (0.89, 0.901)], "no_difference", None),
        # Two searches of three learnt.
        ([(0.1, 0.1), *LEARNT[1:]], [(0.1, 0.1), (0.89, 0.9), LEARNT[2]], "no_difference", None),
    ],
)
def test_what_is_no_finding_says_so_in_one_breath(
    ledger: Ledger, constant: list, layerwise: list, verdict: str, said: str | None
) -> None:
    arms: Arms = {"kd/constant": constant, "kd/layerwise": layerwise}
    study = record(ledger, arms, "searches: 3, seeds: 2, smallest: 2")
    comparison, report = compare(ledger, [study]), report_of(ledger, [study])
    (row,) = comparison.rows
    (statement,) = statements(comparison)
    assert row.verdict == verdict
    title, text = headline(comparison), " ".join(render_comparison(comparison).split())
    if said is None:
        assert not any("says nothing" in each for each in (title, statement.sentence))
        return
    assert title.endswith(said)
    assert said in text
    caveat = said[said.index("but ") :]
    assert statement.sentence.startswith(f"{caveat}: ")
    assert f"<h1>{title}</h1>" in render(report, "html")
    assert f"# {title}" in render(report, "md")


def test_the_headline_of_several_comparisons_counts_them(ledger: Ledger) -> None:
    guessed: Arms = {"kd/constant": [(0.1, 0.1)], "kd/layerwise": [(0.1, 0.11)]}
    learnt: Arms = {"kd/constant": [(0.9, 0.9)], "kd/layerwise": [(0.95, 0.951)]}
    ids = [record(ledger, guessed), record(ledger, learnt, study_id="digits-00000002", seed=8)]
    ids.append(record(ledger, guessed, study_id="digits-00000003", seed=9))
    both = {f"{transfer}/{arm}": guessed[f"kd/{arm}"] for transfer in ("kd", "sp") for arm in ("constant", "layerwise")}
    ids.append(record(ledger, both, study_id="digits-00000004"))
    one, *_ = (headline(compare(ledger, [each])) for each in ids)
    assert one.endswith(CHANCE), "of one comparison it is said at length"
    assert headline(compare(ledger, [ids[3]])) == (
        "Layerwise against constant: configurations not told apart in both comparisons; 2 of them say nothing of the "
        "policy"
    )
    assert headline(compare(ledger, [ids[1], ids[3]])) == (
        "Layerwise against constant: configurations differ (1 of 3), configurations not told apart (2 of 3); 2 of them "
        "say nothing of the policy"
    )


def test_one_search_of_guessing_students_is_no_finding_either(ledger: Ledger) -> None:
    study = record(ledger, {"kd/constant": [(0.1, 0.1)], "kd/layerwise": [(0.1, 0.11)]})
    assert headline(compare(ledger, [study])).endswith(f"these two configurations are not told apart, {CHANCE}")
