"""Arms compared over a real ledger: which runs count, what the numbers are, and what a person reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from scipy import stats as scipy_stats

from kdstudy.analysis import Comparison, compare
from kdstudy.errors import RecordError
from kdstudy.ledger import DatasetInfo, Ledger, StudyRecord, TeacherInfo, TrialRecord
from kdstudy.report import render_comparison
from kdstudy.results import TrialResult
from kdstudy.study import ArmId

STUDY = StudyRecord(
    "digits-00000001",
    "digits",
    7,
    "",
    "finished",
    dataset=DatasetInfo("digits"),
    teacher=TeacherInfo(val=0.5, test=0.98),
)
CONSTANT = (0.90, 0.92, 0.91)
LAYERWISE = (0.93, 0.93, 0.95)

# One score a seed; a state in its place says how the run ended; "!" marks a seed added later.
Score = float | str
Arms = Mapping[str, Sequence[Score]]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


def record(ledger: Ledger, arms: Arms, study: StudyRecord = STUDY, later: Arms | None = None) -> None:
    """Record a study: one search trial an arm, then the confirmation runs of each."""
    ledger.create_study(study)
    names = list(arms)
    for number, name in enumerate(names):
        ledger.add_trial(TrialRecord(study.id, number, "search", ArmId.parse(name), 0, 0, number))
        ledger.finish_trial(study.id, number, TrialResult("completed", 1, 0.99))
    number = len(names)
    for exploratory, runs in ((False, arms), (True, later or {})):
        for name, scores in runs.items():
            for position, score in enumerate(scores):
                index = position + (len(arms[name]) if exploratory else 0)
                ledger.add_trial(
                    TrialRecord(
                        study.id,
                        number,
                        "confirm",
                        ArmId.parse(name),
                        index,
                        100 + index,
                        100 + index,
                        exploratory=exploratory,
                    )
                )
                if isinstance(score, float):
                    ledger.finish_trial(study.id, number, TrialResult("completed", 1, 0.5, score))
                elif score == "running":
                    ledger.start_trial(study.id, number)
                else:
                    ledger.finish_trial(study.id, number, TrialResult(score, 1))
                number += 1


def only(comparison: Comparison) -> dict[str, object]:
    (row,) = comparison.to_json()["comparisons"]
    return row


def test_a_row_has_the_numbers_worked_out_on_paper(ledger: Ledger) -> None:
    # See test_stats for the paper. One comparison, so Holm changes nothing; the detectable difference of 3
    # pairs is 3.26404 sd (two-sided 5%, 80% power).
    record(ledger, {"attention/constant": CONSTANT, "attention/layerwise": LAYERWISE})
    assert only(compare(ledger, ["latest"])) == {
        "study_id": STUDY.id,
        "dataset": "digits",
        "transfer": "attention",
        "baseline": "constant",
        "treatment": "layerwise",
        "n": 3,
        "baseline_mean": pytest.approx(0.91),
        "treatment_mean": pytest.approx(2.81 / 3),
        "baseline_sd": pytest.approx(0.01),
        "treatment_sd": pytest.approx(0.0115470, abs=1e-6),
        "diverged_share": {"baseline": 0.0, "treatment": 0.0},
        "difference": pytest.approx(0.08 / 3),
        "ci_low": pytest.approx(-0.011279, abs=1e-6),
        "ci_high": pytest.approx(0.064612, abs=1e-6),
        "p_value": pytest.approx(0.094178, abs=1e-6),
        "p_adjusted": pytest.approx(0.094178, abs=1e-6),
        "effect_size": pytest.approx(1.745743, abs=1e-6),
        "p_improvement": 1.0,
        "detectable": pytest.approx(3.26404 * 0.0152753, abs=1e-6),
        "verdict": "inconclusive",
        "exploratory": None,
    }


def test_every_other_policy_is_compared_with_constant_of_the_same_transfer(ledger: Ledger) -> None:
    record(
        ledger,
        {
            "attention/constant": CONSTANT,
            "attention/layerwise": (0.95, 0.97, 0.965),
            "attention/decay": LAYERWISE,
            "jacobian/constant": (0.5, 0.6, 0.7),
            "jacobian/layerwise": (0.4, 0.5, 0.601),
            "kd/layerwise": LAYERWISE,
        },
    )
    rows = compare(ledger, [STUDY.id]).rows
    assert [(row.transfer, row.baseline, row.treatment) for row in rows] == [
        ("attention", "constant", "layerwise"),
        ("attention", "constant", "decay"),
        ("jacobian", "constant", "layerwise"),
    ]
    raw = [
        scipy_stats.ttest_rel(after, before).pvalue
        for before, after in (
            (CONSTANT, (0.95, 0.97, 0.965)),
            (CONSTANT, LAYERWISE),
            ((0.5, 0.6, 0.7), (0.4, 0.5, 0.601)),
        )
    ]
    assert [row.analysis.pairs.p_value for row in rows] == pytest.approx(raw, rel=1e-6)
    # By size: jacobian (x 3), attention/layerwise (x 2), decay (x 1).
    assert [row.analysis.p_adjusted for row in rows] == pytest.approx([2 * raw[0], raw[1], 3 * raw[2]], rel=1e-6)
    assert [row.analysis.verdict for row in rows] == ["better", "inconclusive", "worse"]


def test_every_arm_is_compared_with_plain_training_on_request(ledger: Ledger) -> None:
    record(ledger, {"none/constant": CONSTANT, "none/layerwise": CONSTANT, "attention/constant": LAYERWISE})
    rows = compare(ledger, [STUDY.id], baseline="none").rows
    assert [(row.transfer, row.baseline, row.treatment) for row in rows] == [
        ("none", "none/constant", "layerwise"),
        ("attention", "none/constant", "constant"),
    ]
    assert rows[0].analysis.pairs.p_value == 1.0
    text = render_comparison(compare(ledger, [STUDY.id], baseline="none"))
    assert text.startswith("Test score over paired seeds, against arm none/constant:\n  none: layerwise +0.0 points")


def test_a_policy_is_compared_with_its_control_on_request(ledger: Ledger) -> None:
    arms = {"attention/constant": CONSTANT, "attention/layerwise": LAYERWISE, "attention/walk": (0.92, 0.94, 0.93)}
    record(ledger, arms | {"kd/constant": CONSTANT})
    rows = compare(ledger, [STUDY.id], baseline="walk").rows
    assert [(row.transfer, row.baseline, row.treatment) for row in rows] == [
        ("attention", "walk", "constant"),
        ("attention", "walk", "layerwise"),
    ]
    assert rows[0].differences == pytest.approx((-0.02, -0.02, -0.02))
    # +0.01, -0.01, +0.02 by hand
    assert rows[1].analysis.pairs.difference == pytest.approx(0.02 / 3)


def test_plain_training_must_be_there_to_be_the_baseline(ledger: Ledger) -> None:
    record(ledger, {"attention/constant": CONSTANT, "none/layerwise": CONSTANT})
    with pytest.raises(RecordError, match="study 'digits-00000001': has no arm none/constant to be the baseline; run"):
        compare(ledger, [STUDY.id], baseline="none")
    with pytest.raises(RecordError, match="has no policy 'kd' to be the baseline; choose from constant, layerwise, or"):
        compare(ledger, [STUDY.id], baseline="kd")
    with pytest.raises(RecordError, match="no ID"):
        compare(ledger, ["nothing"])


def test_seeds_are_paired_whatever_their_order_and_others_left_out(ledger: Ledger) -> None:
    record(
        ledger,
        {
            "attention/constant": (0.9, "diverged", 0.92, 0.91, "running"),
            "attention/layerwise": (0.93, 0.5, "failed", 0.95, 0.99),
        },
    )
    row = compare(ledger, [STUDY.id]).rows[0]
    assert row.analysis.pairs.n == 2
    assert row.differences == pytest.approx((0.03, 0.04))
    assert row.analysis.left_out == 2, "the running one is still to come"
    # A failed run tells nothing of stability: it counts in neither part of the share.
    assert (row.analysis.diverged_baseline, row.analysis.diverged_treatment) == (1 / 4, 0.0)
    assert row.analysis.verdict == "inconclusive"
    assert row.analysis.detectable is None
    text = render_comparison(compare(ledger, [STUDY.id]))
    assert "inconclusive (n = 2; a verdict takes 3 seeds)" in text
    assert "attention: layerwise, 2 seeds left out: a run diverged or failed." in text
    assert "25%, 0%" in text


def test_search_scores_never_count(ledger: Ledger) -> None:
    ledger.create_study(STUDY)
    for number, policy in enumerate(("constant", "layerwise")):
        ledger.add_trial(TrialRecord(STUDY.id, number, "search", ArmId("attention", policy), 0, 5, 5))
        ledger.finish_trial(STUDY.id, number, TrialResult("completed", 1, 0.99, 0.99))
    comparison = compare(ledger, [STUDY.id])
    row = only(comparison)
    assert (row["n"], row["difference"], row["p_value"], row["verdict"]) == (0, None, None, "inconclusive")
    assert row["diverged_share"] == {"baseline": None, "treatment": None}
    assert "attention: layerwise not compared: no seed has a score in both arms" in render_comparison(comparison)


def test_seeds_added_later_make_an_exploratory_analysis_and_never_the_verdict(ledger: Ledger) -> None:
    later = {"attention/constant": (0.5, 0.5), "attention/layerwise": (0.55, 0.535)}
    arms = {
        "attention/constant": CONSTANT,
        "attention/layerwise": LAYERWISE,
        "kd/constant": (0.5, 0.5, 0.5),
        "kd/layerwise": (0.56, 0.51, 0.515),
    }
    record(ledger, arms, later=later)
    comparison = compare(ledger, [STUDY.id])
    first, second = comparison.rows
    assert first.analysis.pairs.n == 3
    assert first.analysis.pairs.difference == pytest.approx(0.08 / 3)
    assert first.analysis.verdict == "inconclusive"
    assert first.exploratory is not None
    assert first.exploratory.pairs.n == 5
    raw = scipy_stats.ttest_rel((*LAYERWISE, 0.55, 0.535), (*CONSTANT, 0.5, 0.5)).pvalue
    assert first.exploratory.pairs.p_value == pytest.approx(raw, rel=1e-6)
    assert first.exploratory.p_adjusted == pytest.approx(2 * raw, rel=1e-6), "corrected like the others"
    assert first.exploratory.verdict == "better"
    assert second.exploratory is None
    text = render_comparison(comparison)
    heading = "Exploratory, with the seeds added later (the verdicts above stand):"
    assert f"{heading}\n  attention: layerwise +3.3 points" in text
    assert text.count("kd: layerwise") == 1


def test_the_difference_of_gains_between_studies(ledger: Ledger) -> None:
    harder = replace(
        STUDY,
        id="cifar-00000002",
        dataset=DatasetInfo("cifar10"),
        teacher=TeacherInfo(test=0.75),
        created=STUDY.created + timedelta(days=1),
    )
    record(
        ledger,
        {
            "attention/constant": CONSTANT,
            "attention/layerwise": LAYERWISE,
            "kd/constant": CONSTANT,
            "kd/layerwise": LAYERWISE,
        },
    )
    gains = (0.05, 0.07, 0.03, 0.06)
    record(
        ledger,
        {"attention/constant": (0.5,) * 4, "attention/layerwise": tuple(0.5 + gain for gain in gains)},
        harder,
    )
    comparison = compare(ledger, [STUDY.id, "cifar", STUDY.id])
    assert [row.study_id for row in comparison.rows] == [STUDY.id, STUDY.id, harder.id]
    (found,) = comparison.to_json()["gain_differences"]
    interval = scipy_stats.ttest_ind(gains, (0.03, 0.01, 0.04), equal_var=False).confidence_interval(0.95)
    assert found == {
        "transfer": "attention",
        "baseline": "constant",
        "treatment": "layerwise",
        "first": {
            "study_id": STUDY.id,
            "dataset": "digits",
            "difficulty": pytest.approx(0.02),
            "n": 3,
            "gain": pytest.approx(0.08 / 3),
        },
        "second": {
            "study_id": harder.id,
            "dataset": "cifar10",
            "difficulty": 0.25,
            "n": 4,
            "gain": pytest.approx(0.0525),
        },
        "difference": pytest.approx(0.0525 - 0.08 / 3),
        "ci_low": pytest.approx(interval.low),
        "ci_high": pytest.approx(interval.high),
    }
    # All three comparisons of the call are corrected together.
    assert comparison.rows[2].analysis.p_adjusted == pytest.approx(3 * comparison.rows[2].analysis.pairs.p_value)
    text = render_comparison(comparison)
    assert "digits-00000001, attention: layerwise +2.7 points" in text
    assert (
        "  attention: layerwise, gain in cifar-00000002 (n = 4, teacher's test error 25.0%)\n"
        "    minus gain in digits-00000001 (n = 3, teacher's test error 2.0%): +2.6 points ["
    ) in text


def test_unknown_difficulty_and_gain_stay_unknown(ledger: Ledger) -> None:
    record(
        ledger,
        {"attention/constant": CONSTANT, "attention/layerwise": LAYERWISE},
        replace(STUDY, teacher=TeacherInfo()),
    )
    record(ledger, {"attention/constant": (), "attention/layerwise": ()}, replace(STUDY, id="b-00000002"))
    comparison = compare(ledger, [STUDY.id, "b-00000002"])
    (found,) = comparison.gain_differences
    assert (found.first.difficulty, found.second.gain, found.difference, found.ci_low) == (
        None,
        None,
        None,
        None,
    )
    assert "teacher's test error unknown): unknown" in render_comparison(comparison)
    assert "gain_differences" not in compare(ledger, [STUDY.id]).to_json()


EXPECTED = """\
Test score over paired seeds, against the constant rate of the same transfer:
  attention: layerwise +2.7 points [-1.1, +6.5], p 0.094 (Holm 0.094): inconclusive (n = 3; could have detected 7.1 points)
  jacobian: layerwise -9.5 points [-10.8, -8.3], p < 0.001 (Holm 0.002): worse (n = 3; could have detected 2.3 points)

transfer   baseline              treatment              n  difference  effect  P(better)  diverged  verdict
---------  --------------------  ---------------------  -  ----------  ------  ---------  --------  ------------
attention  constant 91.0 (1.0)   layerwise 93.7 (1.2)   3        +2.7   +1.75       100%  0%, 0%    inconclusive
jacobian   constant 60.0 (10.0)  layerwise 50.5 (10.2)  3        -9.5  -18.94         0%  0%, 0%    worse

Scores: test score after the last epoch in percent, mean (sd) over the n seeds that have one in both
  arms; differences in points.
Interval: 95%, unadjusted. It covers the seeds of the configurations compared, which the search
  selected; not the luck of the search.
Verdict: paired t test at 5%, Holm-adjusted over 2 comparisons, from 3 seeds on. Could have
  detected: the smallest true difference that it finds with 80% power if seeds vary as these did.
Effect: mean / sd of the differences. P(better): share of seeds that favour the treatment, ties by
  half. Diverged: share of confirmation runs whose loss was not finite, baseline and treatment."""  # noqa: E501


def test_the_table_that_ends_a_study(ledger: Ledger) -> None:
    record(
        ledger,
        {
            "attention/constant": CONSTANT,
            "attention/layerwise": LAYERWISE,
            "jacobian/constant": (0.5, 0.6, 0.7),
            "jacobian/layerwise": (0.40, 0.51, 0.604),
        },
    )
    text = render_comparison(compare(ledger, [STUDY.id]))
    assert text == EXPECTED
    assert text.isascii()


def test_narrow_intervals_get_a_second_decimal(ledger: Ledger) -> None:
    record(ledger, {"attention/constant": (0.9, 0.9, 0.9), "attention/layerwise": (0.9, 0.9005, 0.901)})
    assert "+0.05 points [-0.07, +0.17]" in render_comparison(compare(ledger, [STUDY.id]))


def test_equal_and_constant_differences_say_why_there_is_no_verdict(ledger: Ledger) -> None:
    record(
        ledger,
        {
            "a/constant": CONSTANT,
            "a/layerwise": CONSTANT,
            "b/constant": CONSTANT,
            "b/layerwise": tuple(score + 0.01 for score in CONSTANT),
        },
    )
    text = render_comparison(compare(ledger, [STUDY.id]))
    assert (
        "a: layerwise +0.0 points [+0.0, +0.0], p 1.00 (Holm 1.00): inconclusive (n = 3; equal scores for every seed)"
    ) in text
    assert "b: layerwise +1.0 points: inconclusive (n = 3; no spread, so no test)" in text


def test_a_study_of_one_arm_has_nothing_to_compare(ledger: Ledger) -> None:
    record(ledger, {"attention/constant": CONSTANT})
    comparison = compare(ledger, [STUDY.id])
    assert comparison.to_json() == {"study_id": STUDY.id, "comparisons": []}
    assert render_comparison(comparison).startswith(
        "Nothing to compare: no transfer has both a constant arm and another policy."
    )
    json.dumps(comparison.to_json(), allow_nan=False)
