"""What a study answers beside its verdicts, from hand-made records: scores, picks, and the student to take home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scipy import stats

from kdstudy.analysis import compare
from kdstudy.ledger import Ledger, TeacherInfo, TrialRecord
from kdstudy.report import render_answer, render_comparison
from kdstudy.results import TrialResult
from kdstudy.study import ArmId
from tests.answered import GAIN, ID, LAYERWISE, LR, WEIGHT, Made, answer_of

TAUGHT = "{attention: {weight: {log: [1, 10]}}}"
CONSTANT = [(0.90, 0.92), (0.91, 0.93), (0.90, 0.90)]
HIGHER = [(0.93, 0.95), (0.92, 0.94), (0.95, 0.93)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


def test_an_arm_scores_its_mean_over_searches_with_the_t_interval(ledger: Ledger) -> None:
    made = {"attention/constant": Made(CONSTANT), "attention/placebo": Made(HIGHER, val=-0.1)}
    answer = answer_of(ledger, made, transfers=TAUGHT, policies="constant, placebo")
    constant, placebo = answer.to_json()["arms"]
    interval = stats.ttest_1samp((0.91, 0.92, 0.90), 0.0).confidence_interval(0.95)
    assert (constant["test"], constant["test_sd"]) == (pytest.approx(0.91), pytest.approx(0.01))
    assert (constant["ci_low"], constant["ci_high"]) == pytest.approx((interval.low, interval.high))
    assert (constant["searches"], constant["seeds"]) == ([0, 1, 2], 2)
    assert (constant["baseline"], constant["searches_won"]) == (None, None)
    assert (placebo["baseline"], placebo["searches_won"]) == ("attention/constant", 3)
    assert (constant["searches_compared"], placebo["searches_compared"]) == (0, 3)
    assert placebo["val"] == pytest.approx(2.81 / 3 - 0.1)


def test_the_interval_of_one_search_is_over_its_seeds_and_ends_where_scores_do(ledger: Ledger) -> None:
    ((arm),) = answer_of(ledger, {"kd/constant": Made([(0.90, 0.92, 1.0)])}, transfers="kd").arms
    interval = stats.ttest_1samp((0.90, 0.92, 1.0), 0.0).confidence_interval(0.95)
    assert interval.high > 1
    assert arm.interval == pytest.approx((interval.low, 1.0))


@pytest.mark.parametrize("scores", [[(0.9,)], [(0.9, 0.9)], [(0.9,), (0.9,)]])
def test_without_spread_there_is_no_interval(ledger: Ledger, scores: list) -> None:
    ((arm),) = answer_of(ledger, {"kd/constant": Made(scores)}, transfers="kd").arms
    assert (arm.test, arm.interval) == (pytest.approx(0.9), None)


def test_what_each_arm_ran_with_stands_side_by_side(ledger: Ledger) -> None:
    made = {
        "attention/constant": Made(CONSTANT, {WEIGHT: [2.0, 3.0, 4.0]}),
        "attention/layerwise": Made(HIGHER, {WEIGHT: [2.0, 3.0, 5.0], GAIN: [0.1, -0.2, 0.3]}),
    }
    answer = answer_of(ledger, made, transfers=TAUGHT, policies=f"constant, {{{LAYERWISE}}}")
    constant, layerwise = (arm["ran_with"] for arm in answer.to_json()["arms"])
    assert constant == [
        {"path": LR, "values": [0.1, 0.1, 0.1], "differs": None},
        {"path": WEIGHT, "values": [2.0, 3.0, 4.0], "differs": None},
    ]
    assert layerwise == [
        {"path": LR, "values": [0.1, 0.1, 0.1], "differs": False},
        {"path": WEIGHT, "values": [2.0, 3.0, 5.0], "differs": True},
        {"path": GAIN, "values": [0.1, -0.2, 0.3], "differs": None},
    ]
    lines = render_answer(answer).splitlines()
    place = lines.index("attention  constant    layerwise")
    assert lines[place + 2 : place + 5] == [
        "base_lr    0.1         0.1",
        "weight     3 (2 to 4)  3 (2 to 5) *",
        "gain                   0.1 (-0.2 to 0.3)",
    ]
    assert "* not the baseline's value in every search" in render_answer(answer)


def test_plain_training_teacher_and_chance_stand_below_the_arms(ledger: Ledger) -> None:
    made = {"none/constant": Made(CONSTANT), "attention/constant": Made(HIGHER)}
    answer = answer_of(ledger, made, {"teacher": TeacherInfo(val=0.97, test=0.96)})
    assert answer.plain == ArmId("none", "constant")
    lines = [line.split("  ") for line in render_answer(answer).splitlines()]
    shown = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert shown["none/constant (plain training)"][1] == "91.0"
    assert shown["teacher"] == ["97.0", "96.0"]
    assert shown["chance"] == ["10.0"]
    document = answer.to_json()
    assert (document["plain"], document["teacher_test"], document["chance"]) == ("none/constant", 0.96, 0.1)


def test_the_student_to_take_home_is_chosen_on_validation_never_on_test(ledger: Ledger) -> None:
    """The arm that is best on test is not best on validation, and its best student on test is its worst there."""
    vals = [(0.96, 0.95), (0.97, 0.94), (0.96, 0.98)]  # on average 0.96
    made = {"none/constant": Made(CONSTANT, val=vals), "attention/constant": Made(HIGHER)}
    answer = answer_of(ledger, made)
    student = answer.take_home
    assert student is not None
    assert (student.arm.name, student.search, student.val, student.test) == ("none/constant", 2, 0.98, 0.90)
    (trial,) = (trial for trial in ledger.trials(ID) if trial.number == student.trial)
    assert (trial.arm, trial.search, trial.index, trial.test) == ("none/constant", 2, 1, 0.90)
    text = " ".join(render_answer(answer).split())
    assert "a student of none/constant, the best arm on validation over 3 searches; on test" in text
    assert "on test the arm scores 91.0% [88.5, 93.5], the student" in text
    assert f"the student of trial {student.trial} 90.0% (98.0% on validation): kdstudy export {ID} --trial" in text
    assert student.command == f"kdstudy export {ID} --trial {student.trial} --format safetensors -o student"


def test_an_arm_of_luckier_searches_is_not_the_best_for_it(ledger: Ledger) -> None:
    """Search 0 was easy, and the second arm has a pick there alone."""
    made = {"none/constant": Made([(0.95,), (0.80,)]), "attention/constant": Made([(0.94,), None])}
    answer = answer_of(ledger, made)
    student = answer.take_home
    assert student is not None
    assert (student.arm.name, student.test, student.over) == ("none/constant", 0.95, 1)
    assert "the best arm on validation over 1 search;" in " ".join(render_answer(answer).split())


def test_runs_that_diverged_pull_their_arm_down_and_are_never_taken_home(ledger: Ledger) -> None:
    made = {"none/constant": Made([(0.6, 0.6)]), "attention/constant": Made([(0.9, "diverged")])}  # 0.5 with chance
    student = answer_of(ledger, made).take_home
    assert student is not None and student.arm.name == "none/constant"


def test_a_study_that_only_searched_says_so(ledger: Ledger) -> None:
    answer_of(ledger, {"kd/constant": Made([()])}, transfers="kd")
    trial = TrialRecord(ID, 7, "search", ArmId("kd", "constant"), 0, 1, 1)
    ledger.add_trial(trial)
    ledger.finish_trial(ID, 7, TrialResult("completed", 1, 0.83))
    comparison = compare(ledger, [ID])
    (answer,) = comparison.answers
    assert answer.take_home is not None
    assert (answer.take_home.trial, answer.take_home.val, answer.take_home.test) == (7, 0.83, None)
    text = " ".join(render_comparison(comparison).split())
    assert (
        "the student of trial 7, kd/constant, the best of the search with 83.0% on validation; no run has been" in text
    )
    assert "test -" not in text
