"""Studies of which nothing, or not every arm, came through: every surface says so first, why, and what to do."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kdstudy.analysis import compare
from kdstudy.cli import run
from kdstudy.ledger import Ledger, StudyRecord, TrialRecord
from kdstudy.report import render, render_comparison, report_of, to_summary
from kdstudy.results import TrialResult
from kdstudy.study import ArmId
from tests.confirmed import ID, study_of

BROKEN = "Traceback (most recent call last):\n  File 'terms.py', line 3\nKeyError: 'layer9'\n"
OTHER = "Traceback (most recent call last):\nValueError: too small\n"
NAN = 'the term "kd" of the loss was nan in epoch 1, step 3'
DONE = TrialResult("completed", 1, 0.5)
TESTED = TrialResult("completed", 1, 0.5, 0.9)
FAILED, ALSO = TrialResult("failed", 0, error=BROKEN), TrialResult("failed", 0, error=OTHER)
DIVERGED, STOPPED = TrialResult("diverged", 0, error=NAN), TrialResult("stopped", 1, 0.2)
CONSTANT, LAYERWISE = "kd/constant", "kd/layerwise"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", create=True) as opened:
        yield opened


def made(
    ledger: Ledger,
    search: dict[str, Sequence[TrialResult]],
    confirm: dict[str, Sequence[TrialResult]] | None = None,
    status: str = "finished",
) -> None:
    """Record a study of one search and one seed whose trials ended so."""
    study = study_of({CONSTANT: [], LAYERWISE: []}, "searches: 1, seeds: 1")
    ledger.create_study(replace(StudyRecord.of(study, {}), id=ID, status=status))
    number = 0
    for phase, arms in (("search", search), ("confirm", confirm or {})):
        for arm, results in arms.items():
            for index, result in enumerate(results):
                ledger.add_trial(TrialRecord(ID, number, phase, ArmId.parse(arm), index, index, index))
                ledger.finish_trial(ID, number, result)
                number += 1


@pytest.mark.parametrize(
    ("search", "confirm", "told"),
    [
        pytest.param(
            {CONSTANT: [ALSO, FAILED], LAYERWISE: [FAILED, FAILED]},
            {},
            "all 4 search trials failed: KeyError: 'layer9' (3 of 4); `kdstudy show digits-00000001 --trial 1` shows "
            "more; mend that, and run the study again",
            id="all failed",
        ),
        pytest.param(
            {CONSTANT: [DIVERGED], LAYERWISE: [DIVERGED]},
            {},
            'all 2 search trials diverged: the term "kd" of the loss was nan in epoch 1, step 3 (2 of 2); `kdstudy '
            "show digits-00000001 --trial 0` shows more; lower train.base_lr, or the weight of the transfer method, "
            "and run the study again",
            id="all diverged",
        ),
        pytest.param(
            {CONSTANT: [DIVERGED, FAILED], LAYERWISE: [FAILED]},
            {},
            "all 3 search trials came to nothing, 2 failed, 1 diverged: KeyError: 'layer9' (2 of 3); `kdstudy show "
            "digits-00000001 --trial 1` shows more; mend that, and run the study again",
            id="both",
        ),
        pytest.param(
            {CONSTANT: [STOPPED, STOPPED], LAYERWISE: [STOPPED]},
            {},
            "all 3 search trials were stopped by the pruner; `kdstudy show digits-00000001 --trial 0` shows more; "
            "prune later or not at all (search.pruner), and run the study again",
            id="all pruned",
        ),
        pytest.param(
            {CONSTANT: [FAILED], LAYERWISE: [DONE]},
            {LAYERWISE: [TESTED]},
            "the only search trial of kd/constant failed: KeyError: 'layer9'; `kdstudy show digits-00000001 --trial 0` "
            "shows more; mend that, and run the study again",
            id="the baseline alone",
        ),
        pytest.param(
            {CONSTANT: [DONE], LAYERWISE: [DONE]},
            {CONSTANT: [FAILED], LAYERWISE: [TESTED]},
            "the only confirmation run of kd/constant failed: KeyError: 'layer9'; `kdstudy show digits-00000001 "
            "--trial 2` shows more; mend that, and run the study again",
            id="confirmation",
        ),
        pytest.param(
            {CONSTANT: [TrialResult("diverged", 0)], LAYERWISE: [TrialResult("diverged", 0)]},
            {},
            "all 2 search trials diverged; `kdstudy show digits-00000001 --trial 0` shows more; lower train.base_lr, "
            "or the weight of the transfer method, and run the study again",
            id="a record without reasons",
        ),
    ],
)
def test_what_was_lost_is_said_first_on_every_surface(
    ledger: Ledger, search: dict[str, list[TrialResult]], confirm: dict[str, list[TrialResult]], told: str
) -> None:
    made(ledger, search, confirm)
    comparison, report = compare(ledger, [ID]), report_of(ledger, [ID])
    (answer,) = comparison.answers
    assert [warned.message for warned in answer.warnings if warned.kind == "trials_lost"] == [told]
    assert answer.warnings[0].message == told
    page = html.unescape(render(report, "html"))
    summary = answer.lost[0].summary
    assert re.search(r"<h1>(.*?)</h1>", page)[1].endswith(f": {summary}") or summary in page.partition("</h1>")[0]
    assert "yet" not in page.partition("</h1>")[0].partition("<h1>")[2]
    assert "Nothing has been confirmed yet" not in page
    for text in (render_comparison(comparison), to_summary(report), render(report, "md"), page.partition("<main>")[2]):
        said = " ".join(re.sub(r"\\(?=[`*_\[\]<>|#])|<[^>]*>|[*>]", "", text).split())
        assert said.startswith(f"Warning: {told}.")


def test_the_table_of_trials_says_why_and_nothing_says_that_nothing_was_searched(ledger: Ledger) -> None:
    made(ledger, {CONSTANT: [FAILED], LAYERWISE: [FAILED]})
    report = report_of(ledger, [ID])
    page, text = render(report, "html"), render(report, "md")
    assert "Nothing was searched" not in page
    assert "No search trial has a score. The table of trials, below, says why." in page
    assert text.count("| KeyError: 'layer9' |") == 2
    made_of = re.search(r"\.problem \{[^}]*\}", page)[0]
    assert "min-width: 16rem" in made_of, "a reason is read, not spelled"


@pytest.mark.parametrize(
    ("search", "status"),
    [
        ({CONSTANT: [FAILED]}, "running"),
        ({CONSTANT: [FAILED]}, "interrupted"),
        ({CONSTANT: [FAILED, DONE]}, "finished"),
    ],
)
def test_nothing_is_lost_while_more_may_come_or_one_came_through(
    ledger: Ledger, search: dict[str, list[TrialResult]], status: str
) -> None:
    made(ledger, search, status=status)
    assert compare(ledger, [ID]).answers[0].lost == ()


def test_the_command_is_whole_wherever_the_terminals_line_ends(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(ledger, {CONSTANT: [FAILED], LAYERWISE: [FAILED]})
    assert run(["compare", ID, "--store", str(tmp_path)]) == 0
    assert f"kdstudy show {ID} --trial 0 --store {tmp_path}` shows more" in capsys.readouterr().out
