"""Arms compared over a real ledger: which runs count, what the numbers are, and what a person reads."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from kdstudy.analysis import Comparison, compare
from kdstudy.errors import RecordError
from kdstudy.ledger import DatasetInfo, Ledger, StudyRecord, TeacherInfo, TrialRecord
from kdstudy.report import render_comparison
from kdstudy.results import TrialResult
from kdstudy.study import ArmId
from tests.confirmed import ID, Arms, record, study_of

# Means of the searches: 0.91, 0.92, 0.90 and 0.94, 0.93, 0.94, hence d_r = 0.03, 0.01, 0.04.
CONSTANT = [(0.90, 0.92), (0.91, 0.93), (0.90, 0.90)]
LAYERWISE = [(0.93, 0.95), (0.92, 0.94), (0.95, 0.93)]
ARMS = {"attention/constant": CONSTANT, "attention/layerwise": LAYERWISE}
# One search of three seeds with those differences, and one with -0.1, -0.09, -0.096.
SEEDS = {"attention/constant": [(0.90, 0.92, 0.91)], "attention/layerwise": [(0.93, 0.93, 0.95)]}
LOWER = {"attention/constant": [(0.5, 0.6, 0.7)], "attention/layerwise": [(0.40, 0.51, 0.604)]}
LOOK_AGAIN = "run a study that declares them (searches added to this one are exploratory)"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


def gains(*gains: float, base: float = 0.5, name: str = "attention") -> Arms:
    """One search of one seed for each gain."""
    return {f"{name}/constant": [(base,)] * len(gains), f"{name}/layerwise": [(base + gain,) for gain in gains]}


def only(comparison: Comparison) -> dict[str, Any]:
    (row,) = comparison.to_json()["comparisons"]
    return dict(row)


def test_a_row_has_the_numbers_worked_out_on_paper(ledger: Ledger) -> None:
    # d_r: mean 0.08 / 3; squared deviations sum to 0.0026 - 0.0064 / 3, half of that is the variance; t(0.975, 2) =
    # 4.302653. One comparison, so Holm changes nothing. Three searches detect 3.26404 sd (two-sided 5 %, 80 % power).
    record(ledger, ARMS)
    assert only(compare(ledger, ["latest"])) == {
        "study_id": ID,
        "dataset": "digits",
        "transfer": "attention",
        "baseline": "constant",
        "treatment": "layerwise",
        "estimand": "tuned",
        "family": "study",
        "searches": 3,
        "seeds": 2,
        "differences": pytest.approx([0.03, 0.01, 0.04]),
        "baseline_mean": pytest.approx(0.91),
        "treatment_mean": pytest.approx(2.81 / 3),
        "baseline_sd": pytest.approx(0.01),
        "treatment_sd": pytest.approx(0.00577350, abs=1e-8),
        "diverged": {"baseline": 0, "treatment": 0},
        "failed": 0,
        "difference": pytest.approx(0.08 / 3),
        "ci_low": pytest.approx(-0.011279, abs=1e-6),
        "ci_high": pytest.approx(0.064612, abs=1e-6),
        "p_value": pytest.approx(0.094178, abs=1e-6),
        "p_adjusted": pytest.approx(0.094178, abs=1e-6),
        "effect_size": pytest.approx(1.745743, abs=1e-6),
        "searches_won": 3,
        "detectable": pytest.approx(3.26404 * 0.0152753, abs=1e-5),
        "smallest": None,
        "p_no_difference": None,
        "p_no_difference_adjusted": None,
        "search_share": None,
        "advice": None,
        "verdict": "inconclusive",
    }


def test_five_searches_with_a_smallest_difference_that_matters(ledger: Ledger) -> None:
    found = (0.001, -0.001, 0.002, 0.0, 0.0015)
    arms = {
        "attention/constant": [(0.5, 0.5)] * 5,
        "attention/layerwise": [(0.5 + gain - 0.001, 0.5 + gain + 0.001) for gain in found],
    }
    record(ledger, arms, "searches: 5, seeds: 2, smallest: 0.5")
    row = only(compare(ledger, [ID]))
    assert row["smallest"] == 0.005
    below = stats.ttest_1samp(found, 0.005, alternative="less").pvalue
    assert row["p_no_difference"] == row["p_no_difference_adjusted"] == pytest.approx(below)
    assert row["p_value"] == pytest.approx(stats.ttest_1samp(found, 0.0).pvalue)
    # Every search has seeds 0.002 apart: msw = 2e-6, half of it over two seeds. The d_r vary by 1.45e-6: their squares
    # sum to 8.25e-6, less 5 * 0.0007^2, over 4.
    assert row["search_share"] == pytest.approx(1 - 1e-6 / ((8.25e-6 - 5 * 0.0007**2) / 4))
    assert row["advice"].startswith("about 30 % of the variance is the luck of the search: 4 more searches would")
    assert row["verdict"] == "no_difference"
    assert "attention: layerwise: no difference larger than 0.5 points: +0.07" in text_of(ledger)


def text_of(ledger: Ledger, *ids: str, baseline: str | None = None) -> str:
    """Return the text of a comparison as one line."""
    return " ".join(render_comparison(compare(ledger, ids or ["latest"], baseline)).split())


def table_of(ledger: Ledger) -> list[str]:
    """Return the lines of the arms' table: its header, and one of each arm."""
    lines = render_comparison(compare(ledger, ["latest"])).splitlines()
    return [line for line in lines if line.startswith(("arm ", "attention/"))]


@pytest.mark.parametrize(
    ("arms", "p", "verdict", "words"),
    [
        (SEEDS, 0.094178, "not_told_apart", "these two configurations are not told apart"),
        (LOWER, 0.000919, "configurations_differ", "these two configurations differ"),
    ],
)
def test_one_search_speaks_of_configurations(ledger: Ledger, arms: Arms, p: float, verdict: str, words: str) -> None:
    record(ledger, arms)
    row = only(compare(ledger, [ID]))
    pairs = [after - before for before, after in zip(*(runs[0] for runs in arms.values()), strict=True)]
    assert row["differences"] == pytest.approx([sum(pairs) / 3]), "of the search"
    assert row["p_value"] == row["p_adjusted"] == pytest.approx(stats.ttest_1samp(pairs, 0.0).pvalue)
    assert row["p_value"] == pytest.approx(p, abs=1e-5)
    interval = stats.ttest_1samp(pairs, 0.0).confidence_interval(0.95)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high)), "over its seeds"
    assert (row["searches"], row["seeds"], row["verdict"]) == (1, 3, verdict)
    assert (row["effect_size"], row["baseline_sd"], row["treatment_sd"]) == (None, None, None)
    text = text_of(ledger)
    assert "over 3 seeds of what one search picked, against the constant rate of the same transfer: " in text
    assert f"attention: layerwise: {words}: " in text
    assert f"a verdict on the policies takes 3 searches, not 1: {LOOK_AGAIN}" in text
    assert "another search picks others, so it says nothing of the policies" in text
    assert not {"better", "worse"} & {*text.replace(":", "").split()}


def test_two_searches_show_both_numbers_and_no_verdict(ledger: Ledger) -> None:
    record(ledger, {name: runs[:2] for name, runs in ARMS.items()})
    row = only(compare(ledger, [ID]))
    assert (row["searches"], row["verdict"], row["detectable"]) == (2, "no_verdict", None)
    assert row["differences"] == pytest.approx([0.03, 0.01])
    text = text_of(ledger)
    assert "no verdict: +2.0 points" in text
    assert "won 2 of 2 searches; a verdict takes 3 searches" in text
    assert f"Advice: a verdict on the policies takes 3 searches, not 2: {LOOK_AGAIN}." in text


def test_the_family_is_every_policy_against_constant_of_its_transfer(ledger: Ledger) -> None:
    arms = {
        "attention/constant": [(0.9,), (0.92,), (0.91,)],
        "attention/layerwise": [(0.95,), (0.97,), (0.965,)],
        "attention/decay": [(0.93,), (0.93,), (0.95,)],
        "none/constant": [(0.5,), (0.6,), (0.7,)],
        "none/layerwise": [(0.4,), (0.5,), (0.601,)],
        "none/decay": [(0.5,), (0.6,), (0.7,)],
    }
    record(ledger, arms)
    rows = compare(ledger, [ID]).rows
    assert [(row.transfer, row.baseline, row.treatment) for row in rows] == [
        ("attention", "constant", "layerwise"),
        ("attention", "constant", "decay"),
        ("none", "constant", "layerwise"),
        ("none", "constant", "decay"),
    ]
    raw = [
        stats.ttest_rel([run[0] for run in arms[f"{row.transfer}/{row.treatment}"]],
                        [run[0] for run in arms[f"{row.transfer}/constant"]]).pvalue
        for row in rows[:3]
    ]  # fmt: skip
    assert [row.judgement.p_value for row in rows] == pytest.approx([*raw, 1.0], rel=1e-6)
    # By size: none/layerwise (x 4), attention/layerwise (x 3), decay (x 2), the equal one (x 1).
    adjusted = [3 * raw[0], 2 * raw[1], 4 * raw[2], 1.0]
    assert [row.judgement.p_adjusted for row in rows] == pytest.approx(adjusted, rel=1e-6)
    assert [row.verdict for row in rows] == ["better", "inconclusive", "worse", "inconclusive"]


def test_the_study_names_its_own_comparisons(ledger: Ledger) -> None:
    arms = {**ARMS, "attention/decay": [(0.9, 0.9)] * 3, "none/constant": [(0.8, 0.8)] * 3}
    pairs = "[[attention/layerwise, attention/decay], [attention/constant, none/constant]]"
    record(ledger, arms, f"searches: 3, seeds: 2, comparisons: {pairs}")
    rows = compare(ledger, [ID]).rows
    assert [(row.transfer, row.baseline, row.treatment, row.family) for row in rows] == [
        ("attention", "decay", "layerwise", "study"),
        ("attention", "none/constant", "constant", "study"),
    ]
    larger, smaller = (row.judgement for row in rows)
    assert (larger.p_adjusted, smaller.p_adjusted) == (larger.p_value, pytest.approx(2 * (smaller.p_value or 0)))
    against = compare(ledger, [ID], baseline="constant").rows
    assert {row.family for row in against} == {"exploratory"}
    text = text_of(ledger)
    assert "of 2 seeds each: attention: layerwise against decay: better: +3.7" in text
    assert "attention: constant against none/constant: better: +11.0" in text


def test_every_arm_is_compared_with_plain_training_on_request(ledger: Ledger) -> None:
    record(ledger, {"none/constant": CONSTANT, "none/layerwise": CONSTANT, "attention/constant": LAYERWISE})
    comparison = compare(ledger, [ID], baseline="none")
    assert [(row.transfer, row.baseline, row.treatment, row.family) for row in comparison.rows] == [
        ("none", "constant", "layerwise", "study"),
        ("attention", "none/constant", "constant", "exploratory"),
        ("attention", "none/constant", "layerwise", "exploratory"),
    ]
    first, second, last = comparison.to_json()["comparisons"]
    assert (first["p_value"], first["p_adjusted"], first["verdict"]) == (1.0, 1.0, "inconclusive"), "it was declared"
    assert (second["p_value"], second["p_adjusted"]) == (pytest.approx(0.094178, abs=1e-6), None)
    assert (last["searches"], last["differences"], last["difference"]) == (0, [], None), "it was never confirmed"
    text = text_of(ledger, baseline="none")
    assert "Exploratory, with unadjusted p (the verdicts above stand): attention: constant against none/const" in text


def test_where_nothing_was_declared_nothing_has_a_verdict(ledger: Ledger) -> None:
    record(ledger, ARMS)
    text = text_of(ledger, baseline="layerwise")
    assert "Exploratory: unadjusted p, and no verdict: attention: constant: -2.7 points [-6.5, +1.1]" in text
    assert "Nothing here is one of the study's own comparisons, so nothing has a verdict." in text


def test_plain_training_must_be_there_to_be_the_baseline(ledger: Ledger) -> None:
    record(ledger, ARMS)
    with pytest.raises(RecordError, match="study 'digits-00000001': has no arm none/constant to be the baseline; run"):
        compare(ledger, [ID], baseline="none")
    with pytest.raises(RecordError, match="has no policy 'kd' to be the baseline; choose from constant, layerwise, or"):
        compare(ledger, [ID], baseline="kd")
    with pytest.raises(RecordError, match="no ID"):
        compare(ledger, ["nothing"])


def test_verdicts_depend_neither_on_the_ids_nor_on_the_baseline_that_a_call_names(ledger: Ledger) -> None:
    arms = {**ARMS, "attention/decay": [(0.95, 0.95), (0.96, 0.96), (0.945, 0.945)]}
    first = record(ledger, arms)
    second = record(ledger, gains(0.02, 0.021, 0.022), study_id="digits-00000002", seed=7)
    alone = {
        (row.study_id, row.treatment): row.to_json()
        for study_id in (first, second)
        for row in compare(ledger, [study_id]).rows
    }
    assert {row["verdict"] for row in alone.values()} == {"better", "inconclusive"}
    for ids in ([first, second], [second, first], [second, first, second]):
        together = compare(ledger, ids)
        assert {(row.study_id, row.treatment): row.to_json() for row in together.rows} == alone
    named = compare(ledger, [first], baseline="constant")
    assert [row.to_json() for row in named.rows] == [row for key, row in alone.items() if key[0] == first]
    others = compare(ledger, [first], baseline="decay").to_json()["comparisons"]
    assert {(row["family"], row["p_adjusted"], row["verdict"]) for row in others} == {
        ("exploratory", None, "no_verdict")
    }


def test_a_search_that_is_not_complete_is_left_out_while_the_study_runs(ledger: Ledger) -> None:
    arms = {
        "attention/constant": [*CONSTANT, (0.9, 0.9), (0.9, 0.9), (0.9, "running")],
        "attention/layerwise": [*LAYERWISE, (0.5,), None, (0.5, 0.5)],
    }
    record(ledger, arms, "searches: 6, seeds: 2", status="interrupted")
    row = only(compare(ledger, [ID]))
    assert (row["searches"], row["failed"], row["verdict"]) == (3, 0, "no_verdict")
    assert row["differences"] == pytest.approx([0.03, 0.01, 0.04])
    assert "won 3 of 3 searches; 3 searches are still to come; could have" in text_of(ledger)


@pytest.mark.parametrize("lost", [None, (), (0.9, "running")])
def test_no_interruption_leaves_out_a_search(ledger: Ledger, lost: tuple[float | str] | None) -> None:
    """The second search may have an arm without a pick; those behind it wait until that is known."""
    arms = {
        "attention/constant": [(0.5, 0.5)] * 5,
        "attention/layerwise": [(0.6, 0.6), lost, (0.61, 0.6), (0.6, 0.6), (0.61, 0.61)],
    }
    record(ledger, arms, "searches: 3, seeds: 2, at_most: 5", status="interrupted")
    row = only(compare(ledger, [ID]))
    assert (row["searches"], row["verdict"], row["p_value"]) == (1, "no_verdict", None)


def test_an_arm_without_a_pick_blocks_the_verdict_of_a_finished_study(ledger: Ledger) -> None:
    arms = {**gains(*[0.1, 0.11, 0.105, 0.1, 0.11])}
    arms["attention/layerwise"] = [*arms["attention/layerwise"][:4], None]
    record(ledger, arms, "searches: 5, seeds: 1")
    row = only(compare(ledger, [ID]))
    assert (row["searches"], row["verdict"]) == (4, "no_verdict")
    assert row["p_value"] < 1e-4
    assert "no verdict: +10.4 points" in text_of(ledger)
    assert "won 4 of 4 searches; an arm has no pick in 1 search; could" in text_of(ledger)


def test_so_does_one_where_later_searches_were_declared(ledger: Ledger) -> None:
    arms = {**gains(*[0.1, 0.11, 0.105, 0.1])}
    arms["attention/layerwise"] = [None, *arms["attention/layerwise"][1:]]
    record(ledger, arms, "searches: 3, seeds: 1, at_most: 4")
    assert only(compare(ledger, [ID]))["verdict"] == "no_verdict", "three searches are there, but one was lost"


def test_a_failed_run_blocks_the_verdict_and_a_diverged_one_scores_chance(ledger: Ledger) -> None:
    arms = {
        "attention/constant": [(0.50, "diverged"), (0.5, 0.5), (0.5, 0.5)],
        "attention/layerwise": [(0.60, 0.60), ("failed", 0.6), (0.6, 0.6)],
    }
    record(ledger, arms)
    row = only(compare(ledger, [ID]))
    # (0.1 + (0.6 - 0.1)) / 2; the seed that failed is out, its partner alone would be a search of one seed.
    assert row["differences"] == pytest.approx([0.3, 0.1, 0.1])
    assert (row["diverged"], row["failed"], row["seeds"]) == ({"baseline": 1, "treatment": 0}, 1, 1)
    assert row["verdict"] == "no_verdict"
    text = text_of(ledger)
    assert "; 1 run failed; could have" in text
    assert [row.split()[-1] for row in table_of(ledger)] == ["diverged", "1", "0"]
    assert "Diverged: confirmation runs whose loss was not finite; they score chance." in text


def test_a_treatment_that_diverged_in_two_searches_of_five_is_not_better(ledger: Ledger) -> None:
    treated: list[tuple[float | str]] = [(0.60,), (0.61,), (0.605,), ("diverged",), ("diverged",)]
    record(ledger, {"attention/constant": [(0.5,)] * 5, "attention/layerwise": treated})
    row = only(compare(ledger, [ID]))
    assert row["differences"] == pytest.approx([0.10, 0.11, 0.105, -0.4, -0.4])
    assert (row["searches"], row["diverged"]) == (5, {"baseline": 0, "treatment": 2})
    assert row["difference"] < 0
    assert row["verdict"] == "inconclusive"
    # The survivors alone would be called better.
    record(ledger, {"attention/constant": [(0.5,)] * 3, "attention/layerwise": treated[:3]}, study_id="b-00000002")
    assert only(compare(ledger, ["b-00000002"]))["verdict"] == "better"


@pytest.mark.parametrize(
    ("dataset", "score", "failed"),
    [
        (DatasetInfo("coco", num_classes=80, multilabel=True, chance=0.03), 0.03, 0),
        (DatasetInfo("digits", num_classes=4), 0.25, 0),
        (DatasetInfo("coco", num_classes=80, multilabel=True), None, 1),
        (DatasetInfo("digits"), None, 1),
    ],
)
def test_where_chance_is_not_known_a_diverged_run_counts_as_failed(
    ledger: Ledger, dataset: DatasetInfo, score: float | None, failed: int
) -> None:
    arms = {**gains(0.1, 0.1, 0.101), "attention/layerwise": [(0.6,), (0.6,), ("diverged",)]}
    record(ledger, arms, dataset=dataset)
    row = only(compare(ledger, [ID]))
    assert (row["failed"], row["diverged"]["treatment"]) == (failed, 1)
    if score is None:
        assert (row["searches"], row["verdict"]) == (2, "no_verdict")
    else:
        assert row["differences"] == pytest.approx([0.1, 0.1, score - 0.5])


def test_later_seeds_and_searches_are_exploratory_and_the_verdict_stays(ledger: Ledger) -> None:
    arms = {
        "attention/constant": [(0.90, 0.92, 0.5), (0.91, 0.93, 0.5), (0.90, 0.90, "diverged"), (0.5, 0.5, 0.5)],
        "attention/layerwise": [(0.93, 0.95, 0.5), (0.92, 0.94, 0.5), (0.95, 0.93, 0.1), (0.55, 0.55, 0.55)],
    }
    record(ledger, arms, "searches: 3, seeds: 2")
    first, later = compare(ledger, [ID]).rows
    assert (first.family, later.family, first.later, later.later) == ("study", "exploratory", False, True)
    assert first.judgement.scores.differences == pytest.approx((0.03, 0.01, 0.04))
    assert first.verdict == "inconclusive"
    # All seeds of all four searches: two thirds of the former, and 0.05.
    assert later.judgement.scores.differences == pytest.approx((0.02, 0.02 / 3, 0.08 / 3, 0.05))
    assert (later.judgement.scores.seeds, later.judgement.p_adjusted, later.verdict) == (3, None, "no_verdict")
    assert (first.diverged_baseline, later.diverged_baseline) == (0, 1)
    text = text_of(ledger)
    heading = "Exploratory, with unadjusted p (the verdicts above stand):"
    assert f"{heading} attention: layerwise, with what was added later: +2.6 points" in text


def test_searches_up_to_at_most_count_and_p_pays_for_the_looks(ledger: Ledger) -> None:
    found = (0.03, 0.01, 0.04, 0.03, 0.02)
    record(ledger, gains(*found[:4]), "searches: 3, seeds: 1, at_most: 4")
    record(ledger, gains(*found), "searches: 3, seeds: 1, at_most: 4", study_id="b-00000002")
    four = only(compare(ledger, [ID]))
    raw = stats.ttest_1samp(found[:4], 0.0).pvalue
    assert four["searches"] == 4
    assert raw < four["p_value"] < 2 * raw, "more than of one look, less than of two that are unrelated"
    assert four["verdict"] == "better"
    declared, later = compare(ledger, ["b-00000002"]).to_json()["comparisons"]
    assert {**declared, "study_id": ID} == four, "the fifth was not declared"
    assert (later["searches"], later["family"]) == (5, "exploratory")
    assert later["p_value"] == pytest.approx(stats.ttest_1samp(found, 0.0).pvalue)


def test_studies_equal_but_for_the_seed_are_also_counted_together(ledger: Ledger) -> None:
    first = record(ledger, {**gains(0.03, 0.01, 0.04), "attention/constant": [(0.5,), (0.5,), ("diverged",)]})
    record(ledger, gains(0.02, 0.03, 0.05), study_id="b-00000002", seed=8)
    record(ledger, gains(0.01, 0.02, 0.01), study_id="c-00000003", seed=9, together=True)
    record(ledger, gains(0.02, 0.02, 0.01), study_id="d-00000004", seed=8, together=True)
    ids = [first, "b-00000002", "c-00000003", "d-00000004"]
    rows = compare(ledger, ids).rows
    assert [row.together for row in rows] == [(), (), (), (), tuple(ids[:2]), tuple(ids[2:])]
    both = rows[4]
    assert both.judgement.scores.differences == pytest.approx((0.03, 0.01, 0.44, 0.02, 0.03, 0.05))
    assert (both.family, both.verdict, both.judgement.p_adjusted) == ("exploratory", "no_verdict", None)
    assert both.diverged_baseline == 1
    assert [row.estimand for row in rows] == ["tuned", "tuned", *["equal_rates"] * 2, "tuned", "equal_rates"]
    text = text_of(ledger, *ids)
    assert f"{first} and b-00000002, attention: layerwise: +9.7 points" in text
    assert "Asked at equal rates: the policies of a transfer went together in what search.together names." in text


@pytest.mark.parametrize(("images", "alike"), [("same", True), ("other", False)])
def test_the_same_files_elsewhere_are_the_same_and_others_are_not(ledger: Ledger, images: str, alike: bool) -> None:
    ids, arms = [], gains(0.02, 0.03, 0.05)
    for seed, root, known in ((7, "/here", "same"), (8, "/there", images)):
        study = study_of(arms, "searches: 3, seeds: 1", seed, together=False)
        checked = replace(study, data=replace(study.data, root=root)).to_json()
        dataset = DatasetInfo("digits", num_classes=10, fingerprints={"test": known})
        ids.append(record(ledger, arms, study_id=f"s-0000000{seed}", seed=seed, checked=checked, dataset=dataset))
    assert [row.together for row in compare(ledger, ids).rows] == [(), (), *([tuple(ids)] if alike else [])]


@pytest.mark.parametrize(("sha256", "alike"), [("same", True), ("other", False)])
def test_studies_that_began_with_other_weights_are_not_counted_together(
    ledger: Ledger, sha256: str, alike: bool
) -> None:
    ids, arms = [], gains(0.02, 0.03, 0.05)
    for seed, known in ((7, "same"), (8, sha256)):
        teacher = TeacherInfo(val=0.9, weights={"net A": known})
        ids.append(record(ledger, arms, study_id=f"s-0000000{seed}", seed=seed, teacher=teacher))
    assert [row.together for row in compare(ledger, ids).rows] == [(), (), *([tuple(ids)] if alike else [])]


def test_the_same_seed_twice_is_the_same_search_and_never_counted_twice(ledger: Ledger) -> None:
    record(ledger, ARMS)
    record(ledger, ARMS, study_id="b-00000002")
    assert [row.together for row in compare(ledger, [ID, "b-00000002"]).rows] == [(), ()]


def test_the_difference_of_gains_between_studies(ledger: Ledger) -> None:
    more = (0.05, 0.07, 0.03, 0.06)
    record(ledger, {**ARMS, "none/constant": CONSTANT, "none/layerwise": CONSTANT})
    harder = {"dataset": DatasetInfo("cifar10", num_classes=10), "teacher": TeacherInfo(test=0.75)}
    record(ledger, gains(*more), study_id="cifar-00000002", **harder)
    comparison = compare(ledger, [ID, "cifar", ID])
    assert [row.study_id for row in comparison.rows] == [ID, ID, "cifar-00000002"]
    (found,) = comparison.to_json()["gain_differences"]
    interval = stats.ttest_ind(more, (0.03, 0.01, 0.04), equal_var=False).confidence_interval(0.95)
    assert found == {
        "transfer": "attention",
        "baseline": "constant",
        "treatment": "layerwise",
        "first": {
            "study_id": ID,
            "dataset": "digits",
            "difficulty": pytest.approx(0.02),
            "searches": 3,
            "gain": pytest.approx(0.08 / 3),
        },
        "second": {
            "study_id": "cifar-00000002",
            "dataset": "cifar10",
            "difficulty": 0.25,
            "searches": 4,
            "gain": pytest.approx(0.0525),
        },
        "difference": pytest.approx(0.0525 - 0.08 / 3),
        "ci_low": pytest.approx(interval.low),
        "ci_high": pytest.approx(interval.high),
    }
    text = render_comparison(comparison)
    assert "Holm-adjusted over each study's own comparisons" in " ".join(text.split())
    assert (
        "  attention: layerwise, gain in cifar-00000002 (4 searches, teacher's test error 25.0%)\n"
        "    minus gain in digits-00000001 (3 searches, teacher's test error 2.0%): +2.6 points ["
    ) in text


def test_below_three_searches_no_gain_is_compared(ledger: Ledger) -> None:
    record(ledger, gains(0.03, 0.01), teacher=TeacherInfo())
    record(ledger, gains(0.05, 0.02, 0.03), study_id="b-00000002")
    comparison = compare(ledger, [ID, "b-00000002"])
    (found,) = comparison.gain_differences
    assert (found.first.searches, found.first.gain, found.first.difficulty) == (2, pytest.approx(0.02), None)
    assert (found.difference, found.ci_low, found.ci_high) == (None, None, None)
    assert "teacher's test error unknown): not told, since a study has fewer than 3 searches" in text_of(
        ledger, ID, "b-00000002"
    )
    assert "gain_differences" not in compare(ledger, [ID]).to_json()


def test_search_scores_never_count(ledger: Ledger) -> None:
    study_id = record(ledger, {name: [None] for name in ARMS}, "seeds: 2")
    for number, policy in enumerate(("constant", "layerwise")):
        trial = TrialRecord(study_id, 100 + number, "search", ArmId("attention", policy), 7, 5, 5)
        ledger.add_trial(trial)
        ledger.finish_trial(study_id, trial.number, TrialResult("completed", 1, 0.99, 0.99))
    comparison = compare(ledger, [study_id])
    row = only(comparison)
    assert (row["searches"], row["difference"], row["p_value"], row["verdict"]) == (0, None, None, "no_verdict")
    told = "not compared, since no search has a score in both arms; an arm has no pick in 1 search"
    assert f"attention: layerwise: no verdict: {told}" in text_of(ledger)


def test_a_study_without_confirmation_lacks_nothing(ledger: Ledger) -> None:
    record(ledger, {name: [None] for name in ARMS}, "seeds: 0")
    assert only(compare(ledger, [ID]))["verdict"] == "no_verdict"
    assert "pick" not in text_of(ledger).partition("Test score over")[2]


def test_a_record_of_an_older_version_is_one_search(ledger: Ledger) -> None:
    text = """\
name: old
data: {name: digits}
teacher: {model: resnet8, epochs: 1}
student: {model: resnet8}
train: {epochs: 2, batch_size: 8, base_lr: 0.1}
arms: {transfers: [attention], policies: [constant, {layerwise: {interval: 1}}]}
search: {trials_per_arm: 1}
confirm: {seeds: 3}
"""
    old = StudyRecord("old-00000001", "old", 0, text, "finished", dataset=DatasetInfo("digits"))
    assert old.checked is None
    ledger.create_study(old)
    scores = itertools.product((("constant", SEEDS["attention/constant"][0]),
                                ("layerwise", SEEDS["attention/layerwise"][0])), range(4))  # fmt: skip
    for number, ((policy, runs), index) in enumerate(scores):
        later = index == 3
        trial = TrialRecord(
            old.id, number, "confirm", ArmId("attention", policy), index, index, index, exploratory=later
        )
        ledger.add_trial(trial)
        ledger.finish_trial(old.id, number, TrialResult("completed", 1, 0.5, 0.5 if later else runs[index]))
    declared, later = compare(ledger, [old.id]).to_json()["comparisons"]
    assert (declared["searches"], declared["seeds"], declared["verdict"]) == (1, 3, "not_told_apart")
    assert declared["p_value"] == pytest.approx(0.094178, abs=1e-6)
    # A seed added later belongs to that one search.
    assert (later["searches"], later["seeds"], later["family"]) == (1, 4, "exploratory")
    assert later["p_value"] == pytest.approx(stats.ttest_1samp((0.03, 0.01, 0.04, 0.0), 0.0).pvalue)


# d_r of attention: 0.03, 0.01, 0.04, 0.03, 0.03, mean 0.028, squared deviations 4.8e-4, so t = 0.028 / sqrt(2.4e-5).
# Of none: 0.01, (0.01 + 0.1 - 0.83) / 2, -0.01, 0.015, mean -0.08625.
EXPECTED = """\
Warning: each search tried 1 configuration an arm: with fewer than 8, what it picks, and so an arm's
  score, depends much on luck; raise search.trials_per_arm.

Test score over searches, against the constant rate of the same transfer:
  attention: layerwise: better: +2.8 points [+1.4, +4.2], p 0.005 (Holm 0.009), won 5 of 5 searches,
    p 1.00 (Holm 1.00) for 0.5 points or more; could have detected 2.2 points
  none: layerwise: no verdict: -8.6 points [-37.7, +20.5], p 0.42 (Holm 0.42), won 2 of 4 searches,
    p 0.78 (Holm 1.00) for 0.5 points or more; an arm has no pick in 1 search; could have detected
    49.7 points

arm                             val %  test %  95% interval  searches  won  diverged
------------------------------  -----  ------  ------------  --------  ---  --------
attention/constant               50.0    90.9  [90.0, 91.8]  5 x 2                 0
attention/layerwise              50.0    93.7  [93.1, 94.3]  5 x 2     5/5         0
none/constant (plain training)   50.0    81.0  [79.7, 82.3]  4 x 2                 0
none/layerwise                   46.0    74.3  [54.6, 94.0]  5 x 2     2/4         1
teacher                                  98.0
chance                                   10.0

Take home: a student of attention/constant, the best arm on validation over 4 searches; on test the
  arm scores 90.9% [90.0, 91.8], the student of trial 20 90.0% (50.0% on validation):
  kdstudy export digits-00000001 --trial 20 --format safetensors -o student

Advice: none: layerwise: the seeds explain all of the variance, an interval of +-29.5 points is to
  be expected: 4 more searches would narrow it to +-15.5, 2 more seeds per search to +-20.8
  (searches beyond the 5 that the study declared are exploratory).

Scores: after the last epoch, in percent, means over searches; differences in points.
Interval: 95%, unadjusted. It covers the luck of searches and seeds, for this teacher and these test
  images.
Verdict: t test over searches, from 3 on, at 5%, Holm-adjusted over the study's 2 comparisons. Could
  have detected: the smallest true difference that it finds with 80% power if they vary as these
  did.
Diverged: confirmation runs whose loss was not finite; they score chance."""


def test_the_text_that_ends_a_study(ledger: Ledger) -> None:
    arms = {
        "attention/constant": [(0.90, 0.92), (0.91, 0.93), (0.90, 0.90), (0.91, 0.91), (0.90, 0.91)],
        "attention/layerwise": [(0.93, 0.95), (0.92, 0.94), (0.95, 0.93), (0.94, 0.94), (0.93, 0.94)],
        "none/constant": [(0.80, 0.82), (0.81, 0.83), (0.82, 0.80), (0.80, 0.80), None],
        "none/layerwise": [(0.82, 0.82), (0.82, "diverged"), (0.80, 0.80), (0.81, 0.82), (0.82, 0.82)],
    }
    record(ledger, arms, "searches: 5, seeds: 2, smallest: 0.5")
    text = render_comparison(compare(ledger, [ID]))
    assert text == EXPECTED
    assert text.isascii()


def test_narrow_intervals_get_a_second_decimal(ledger: Ledger) -> None:
    record(ledger, gains(0.0, 0.0005, 0.001, base=0.9))
    assert "+0.05 points [-0.07, +0.17]" in render_comparison(compare(ledger, [ID]))


def test_equal_and_constant_differences_say_why_there_is_no_verdict(ledger: Ledger) -> None:
    record(ledger, {**gains(0.0, 0.0, 0.0, name="attention"), **gains(0.01, 0.01, 0.01, name="none")})
    text = text_of(ledger)
    same = "but every run scored exactly the same under both, so this says nothing of the policy"
    assert f"attention: layerwise: inconclusive, {same}: +0.0 points [+0.0, +0.0], p 1.00 (Holm 1.00)" in text
    assert "none: layerwise: inconclusive: +1.0 points, won 3 of 3 searches; every search differs by the same" in text


def test_a_study_of_one_arm_has_nothing_to_compare(ledger: Ledger) -> None:
    record(ledger, {"attention/constant": CONSTANT})
    comparison = compare(ledger, [ID])
    document = comparison.to_json()
    assert (document["study_id"], document["comparisons"]) == (ID, [])
    assert [arm["test"] for arm in document["answers"][0]["arms"]] == [pytest.approx(0.91)]
    assert "\n\nNothing to compare: no transfer has both a constant arm" in render_comparison(comparison)
    json.dumps(comparison.to_json(), allow_nan=False)


def test_a_comparison_is_made_of_plain_values(ledger: Ledger) -> None:
    record(ledger, ARMS)
    comparison = compare(ledger, [ID])
    document = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert document == comparison.to_json()
    assert replace(comparison, rows=()).verdicts == ()
