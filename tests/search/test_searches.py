"""Several searches of one study are one stream of trials, and each is what it would be alone."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from kdstudy.errors import StudyError
from kdstudy.ledger import Ended, TrialRecord, utc_now
from kdstudy.results import EndedState, TrialResult
from kdstudy.search import TrialPlanner, check_numbers
from kdstudy.search.pick import pick_of, pick_together
from kdstudy.search.search_plan import numbers_per_search
from kdstudy.seeds import search_seed
from kdstudy.study import ArmId, parse_study
from tests.search.driving import TEXT, drive, ledger_with, plan, study_of

ID = "queue-00000000"
ARMS = 4
THREE = "seeds: 2, searches: 3"


def what(trial: TrialRecord) -> tuple[object, ...]:
    """Everything of a trial that does not say in which study it ran."""
    place = (trial.arm, trial.phase, trial.index, trial.number % 1000)
    return *place, trial.data_seed, trial.init_seed, tuple(trial.values.items())


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_neither_slots_nor_order_nor_interruptions_change_anything(tmp_path: Path, sampler: str) -> None:
    study, plans = study_of(sampler, THREE), []
    for run, (slots, limit) in enumerate([(1, 10**6), (5, 10**6), (4, 7)]):
        with ledger_with(tmp_path / f"{run}.db", study) as ledger:
            while drive(ledger, study, slots=slots, order=random.Random(run), limit=limit) == limit:
                pass
            plans.append(plan(ledger))
    assert plans[0] == plans[1] == plans[2]
    assert len(plans[0]) == 3 * ARMS * (6 + 2)


def test_each_search_is_what_a_study_of_its_seed_would_do(tmp_path: Path) -> None:
    study = study_of("tpe", THREE)
    with ledger_with(tmp_path / "three.db", study) as ledger:
        drive(ledger, study, slots=3, order=random.Random(0))
        trials = ledger.trials(ID)
    assert {trial.search for trial in trials} == {0, 1, 2}
    for search in range(3):
        alone = replace(study_of("tpe"), seed=search_seed(study.seed, search))
        with ledger_with(tmp_path / f"{search}.db", alone) as ledger:
            drive(ledger, alone, slots=1, order=random.Random(1))
            assert [what(t) for t in trials if t.search == search] == [what(t) for t in ledger.trials(ID)]


def test_seeds_are_shared_over_arms_and_never_over_searches(tmp_path: Path) -> None:
    study = study_of("random", THREE)
    with ledger_with(tmp_path / "l.db", study) as ledger:
        drive(ledger, study, slots=3, order=random.Random(0))
        trials = ledger.trials(ID)
    for search in range(3):
        own = [t for t in trials if t.search == search]
        others = {(t.data_seed, t.init_seed) for t in trials if t.search != search}
        assert not {(t.data_seed, t.init_seed) for t in own} & others
        assert len({t.config["split_seed"] for t in own}) == 1
        assert {t.config["study_seed"] for t in own} == {None if search == 0 else study.seed}
    assert len({t.config["split_seed"] for t in trials}) == 3
    first = [t.values["train.base_lr"] for t in trials if t.index == 0 and t.arm == "attention/constant"]
    assert len(set(first)) > 1, "each search draws anew"


def test_no_slot_stands_empty_while_a_search_waits(tmp_path: Path) -> None:
    """With one trial of an arm in flight, one search feeds 4 slots; the next fills the others."""
    study = study_of("tpe", THREE)
    with ledger_with(tmp_path / "l.db", study) as ledger:
        planner = TrialPlanner(study, ID, ledger, lag=1, seeds=2, searches=3)
        handed = list(iter(planner.next, None))
        # The start-up trials of all searches wait for nothing, and one more of each arm sees only those... which run.
        assert [trial.search for trial in handed] == sorted(trial.search for trial in handed)
        assert {trial.search for trial in handed} == {0, 1, 2}


def test_numbers_tell_the_search(tmp_path: Path) -> None:
    study = study_of("random", THREE)
    assert numbers_per_search(study) == 1000  # the next power of ten above 4 times 4 arms of 6 + 2 trials
    with ledger_with(tmp_path / "l.db", study) as ledger:
        drive(ledger, study, slots=3, order=random.Random(0))
        assert all(trial.number // 1000 == trial.search for trial in ledger.trials(ID))
    check_numbers(study, searches=3, seeds=244)
    check_numbers(study, searches=1, seeds=10_000)
    with pytest.raises(StudyError, match="numbers for 244 seeds in each, got 245"):
        check_numbers(study, searches=3, seeds=245)
    check_numbers(study, searches=1000, seeds=2)
    with pytest.raises(StudyError, match="numbers for 1000 searches, got 1001"):
        check_numbers(study, searches=1001, seeds=2)
    large = replace(study, search=replace(study.search, trials_per_arm=1_000_000))  # 10**8 numbers for each search
    with pytest.raises(StudyError, match="numbers for 21 searches, got 22"):
        check_numbers(large, searches=22, seeds=2)


def test_searches_and_seeds_added_later_are_exploratory_unless_declared(tmp_path: Path) -> None:
    study = study_of("random", "seeds: 2, searches: 3, at_most: 4")
    with ledger_with(tmp_path / "l.db", study) as ledger:
        drive(ledger, study, slots=3, order=random.Random(0))
        before = plan(ledger)
        assert drive(ledger, study, slots=3, order=random.Random(0), searches=5, seeds=3) == ARMS * (2 * (6 + 3) + 3)
        trials = ledger.trials(ID)
        assert [row for row in plan(ledger) if row in before] == before
    exploratory = {(t.search, t.phase == "confirm" and t.index == 2) for t in trials if t.exploratory}
    assert exploratory == {(0, True), (1, True), (2, True), (3, True), (4, True), (4, False)}


def test_a_budget_is_shared_by_searches() -> None:
    text = TEXT.replace("trials_per_arm: 6, sampler: SAMPLER", "budget: {trials: 50}").replace("seeds: 2", THREE)
    assert parse_study(text, "s.yaml").search.trials_per_arm == 50 // (ARMS * 3)


def trial(index: int, state: EndedState = "completed", val: float | None = None) -> TrialRecord:
    now = utc_now()
    stage = Ended(TrialResult(state, epochs=1, val=val), started=now, finished=now)
    return TrialRecord(ID, index, "search", ArmId("kd", "constant"), index, 0, 0, stage=stage)


def test_the_best_of_a_search_is_picked_and_a_lone_survivor_of_many_is_not() -> None:
    best = trial(1, val=0.7)
    assert pick_of([trial(0, val=0.6), best, trial(2, val=0.7)]) is best, "the earlier of equals"
    lone = trial(0, val=0.9)
    lost = [trial(1, "diverged"), trial(2, "failed")]
    assert pick_of([lone, lost[0]]) is lone, "half of the search survived"
    assert pick_of([lone, *lost]) is None
    assert pick_of([lone, trial(3, "stopped", 0.1), *lost]) is lone, "a pruned trial had survived until then"
    assert pick_of(lost) is None


def test_policies_go_together_by_the_mean_over_them() -> None:
    constant = [trial(0, val=0.9), trial(1, val=0.7), trial(2, val=0.8)]
    other = [trial(0, "diverged"), trial(1, val=0.9), trial(2, val=0.7)]
    # Draw 0 did not complete everywhere; the means of draws 1 and 2 are 0.8 and 0.75.
    assert pick_together([constant, other]) == [constant[1], other[1]]
    assert pick_together([constant[:1], other[:1]]) == [None, None]
    assert pick_together([[trial(i, val=0.5) for i in range(3)], [trial(0, val=0.5), *other[:1] * 2]]) == [None, None]


def test_arms_that_go_together_are_confirmed_with_the_same_draw(tmp_path: Path) -> None:
    text = TEXT.replace("sampler: SAMPLER", "sampler: random, together: [train.base_lr]").replace("seeds: 2", THREE)
    study = parse_study(text, "s.yaml")
    with ledger_with(tmp_path / "l.db", study) as ledger:
        drive(ledger, study, slots=3, order=random.Random(0))
        trials = ledger.trials(ID)
    for search in range(3):
        for transfer in ("attention", "none"):
            own = [t for t in trials if (t.search, t.arm_id.transfer) == (search, transfer)]
            picked = {t.values["train.base_lr"] for t in own if t.phase == "confirm"}
            means: dict[float, list[float]] = {}
            for each in own:
                if each.phase == "search":
                    means.setdefault(each.values["train.base_lr"], []).append(each.val or 0.0)
            assert picked == {max(means, key=lambda lr: sum(means[lr]))}


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("sampler: random, together: [train.epochs]", r"search\.together: must be searched values .*'?train\.epochs"),
        ("sampler: tpe, together: [train.base_lr]", r"search\.together: .*got sampler tpe; write sampler: random"),
    ],
)
def test_what_cannot_go_together_is_one_line(search: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        parse_study(TEXT.replace("sampler: SAMPLER", search), "s.yaml")


@pytest.mark.parametrize(
    ("confirm", "message"),
    [
        ("seeds: 2, searches: 5, at_most: 4", r"confirm\.at_most: counts the study's own 5 too"),
        ("seeds: 2, at_most: 2", r"confirm\.at_most: must be greater than or equal to 3"),
        ("seeds: 2, searches: 5, at_most: 21", r"confirm\.at_most: must be less than or equal to 20"),
        ("comparisons: [[kd/constant, none/constant]]", r"confirm\.comparisons: no arm is called .kd/constant"),
        ("comparisons: [[none/constant, none/constant]]", r"confirm\.comparisons: must be two arms"),
        ("smallest: 0", r"confirm\.smallest"),
    ],
)
def test_a_confirmation_that_cannot_be_is_one_line(confirm: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        study_of("random", confirm)
